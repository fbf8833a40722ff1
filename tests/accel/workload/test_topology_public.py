"""Topologies in the shapes that people publish, with values that others computed.

Multiplications of dense files are those of SCALE-Sim 3.0.0's own reader for the same
numbers; of what it cannot read (padding, groups, grouped queries), of PyTorch's rule or by
hand, in the comment.
"""

import pytest

from accel.workload import from_scalesim

CONV = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"  # noqa: E501
PUBLIC = {
    "an AlexNet, aligned by blanks": (
        f"{CONV}\nConv1,  224, 224,    11, 11,    3,      96,     4,\n"
        "Conv2,  55, 55,      5, 5,      96,     256,    1,\n"
        "Conv3,  27,  27,     3, 3,      256,    384,    1,\n",
        # 55^2 * 363 * 96 + 51^2 * 2,400 * 256 + 25^2 * 2,304 * 384.
        "image", 1, [105_415_200, 1_598_054_400, 552_960_000],
    ),
    "several networks in one file, as a spreadsheet saves it": (
        f"{CONV},\r\n,,,,,,,,,\r\nAlphaGoZero,,,,,,,,,\r\n"
        "Conv, 19, 19, 3, 3, 17, 256, 1,,\r\n\r\n"
        "Neural Collaborative Filtering(Recommendation),,,,,,,,,\r\n"
        "MLP_FC1, 1, 1, 1, 1, 64, 32, 1,,\r\n,,,,,,,,,\r\n",
        # 17^2 * 153 * 256.
        "image", 1, [11_319_552, 2_048],
    ),
    "a column of batches, some empty, in small letters": (
        "Layer name,Ifmap height,ifmap width,filter height,filter width,channels,"
        "num filters,strides,batch size,\n"
        "conv1,224,224,7,7,3,64,1,\nfc1000,1,1,1,1,2048,1000,1,",
        # 218^2 * 147 * 64.
        "image", 1, [447_105_792, 2_048_000],
    ),
    "a batch of four": (
        f"{CONV} Batch Size, Sparsity Ratio,\nconv1,8,8,3,3,3,16,1,4,1:1,\n"
        "conv2,4,4,1,1,16,32,1,4,1:1,\n",
        # As github.com/scalesim-project/SCALE-Sim counts a batch: 4 * 36 * 27 * 16.
        "image", 4, [62_208, 32_768],
    ),
    "tabs": (
        "Layer name\t IFMAP Height\t IFMAP Width\t Filter Height\t Filter Width\t Channels"
        "\t Num Filter\t Strides\t \nConv1_1\t572\t572\t3\t3\t1\t64\t1\t\n"
        "Conv1_5\t388\t388\t1\t1\t64\t2\t1\t",
        "image", 1, [187_142_400, 19_269_632],
    ),
    "a name twice, and remarks behind the last comma": (
        "Layer, IFMAP Width, IFMAP Width, Filter Height, Filter Width, Channels, "
        "Num Filter, Strides,\nConv1,700,161,41,11,1,32,2,#spectrogram\n"
        "BatchRNN1,672,2560,1,2560,1,4,1, ",
        # ceil(659 / 2) + 1 = 331 by 76 windows: 331 * 76 * 451 * 32.
        "image", 1, [363_051_392, 6_881_280],
    ),
    "MobileNet's depthwise layers, the European way": (
        "sep=;\nLayer name;IFMAP Height;IFMAP Width;Filter Height;Filter Width;Channels;"
        "Num Filter;Strides;Padding;Groups\ndw;112;112;3;3;32;32;1;1;32\n"
        "pw;112;112;1;1;32;64;1;0;1\n",
        # Conv2d(32, 32, 3, padding=1, groups=32): 112^2 * 9 * 32; then 112^2 * 32 * 64.
        "image", 1, [3_612_672, 25_690_112],
    ),
    "a language model as products, its last comma missing": (
        "Layer,M,N,K\r\nQKT,1024,1024,64\r\nQKTV,1024,64,1024\r\nLinear1,1024,4800,1600",
        "pass", 1, [67_108_864, 67_108_864, 7_864_320_000],
    ),
    "experts, with heads by hand and blank lines": (
        "Layer,M,N,K,Second factor,Repeat,\n\nAttn_Q_proj,512,384,384,,,\n"
        "QKT_head,512,1024,64,activations,6,\n\nRouter_logits,512,4,384,,,\n",
        # 6 heads of 512 * 1,024 * 64.
        "pass", 1, [75_497_472, 201_326_592, 786_432],
    ),
    "an attention with grouped queries": (
        "Layer, Seq Len, KV Len, Num Heads, KV Heads, Head Dim\n"
        "attn, 1, 2048, 32, 8, 128\n",
        # 32 heads * 2,048 * 128, twice.
        "pass", 1, [8_388_608, 8_388_608],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_files_as_people_have_them(name, tmp_path):
    text, unit, inferences, macs = PUBLIC[name]
    (tmp_path / "net.csv").write_bytes(text.encode())
    found = from_scalesim.workload(tmp_path / "net.csv")
    assert [work.macs for work in found.works] == macs
    assert (found.unit, found.inferences) == (unit, inferences)
