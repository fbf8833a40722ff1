"""What `quant` wrote before networks were programs: manifest of version 1, tensors.

A convolution with a table, a global mean and a dense layer.
"""

import base64
import json
from pathlib import Path

_MANIFEST = (
    '{"classes":["one","zw\\u00f6lf"],"files":{"model.safetensors":{"bytes":784,"sha25'
    '6":"fdbd4e0b4b31a2bd63775a43a310a0a721c7e2db83589ef47e62f2d927cea998"}},"format"'
    ':"lockstep-int8","input":{"bits":8,"exponent":-8,"signed":false},"layers":[{"inp'
    'ut":{"bits":8,"exponent":-8,"signed":false},"input_shape":[2,3,1],"kind":"Conv",'
    '"name":"conv1","output":{"bits":8,"exponent":-4,"signed":true},"output_shape":[2'
    ',2,2],"weighted":{"accumulator_bound":39382,"shift":16,"sum":{"bits":8,"exponent'
    '":-4,"signed":true},"tensors":["conv1.weights","conv1.bias","conv1.multiplier","'
    'conv1.table"],"weight_bits":8}},{"input":{"bits":8,"exponent":-4,"signed":true},'
    '"input_shape":[2,2,2],"kind":"GlobalPool","name":"globalpool1","output":{"bits":'
    '8,"exponent":-4,"signed":true},"output_shape":[2],"weighted":null},{"input":{"bi'
    'ts":8,"exponent":-4,"signed":true},"input_shape":[2],"kind":"Dense","name":"dens'
    'e1","output":{"bits":8,"exponent":-1,"signed":true},"output_shape":[2],"weighted'
    '":{"accumulator_bound":21095,"shift":16,"sum":{"bits":8,"exponent":-1,"signed":t'
    'rue},"tensors":["dense1.weights","dense1.bias","dense1.multiplier"],"weight_bits'
    '":8}}],"network":{"input_shape":[2,3,1],"layers":[{"activation":"tanh","features'
    '":2,"kernel":[1,2],"layer":"Conv","padding":"valid","stride":[1,1]},{"kind":"mea'
    'n","layer":"GlobalPool"},{"activation":"identity","features":2,"layer":"Dense"}]'
    '},"output":{"bits":8,"exponent":-1,"signed":true},"rounding":"half to even","sha'
    '256":"695c64d75907b5e86a87937aff2e5b2ae84b88becd17f203d1f3697dcf50a12d","source"'
    ':{"run":"abc"},"tensors":{"conv1.bias":{"bytes":8,"dtype":"int32","first_byte":4'
    '88,"sha256":"b88be02192dfbd2fbad64f53cd1517e0e52926a8b3d053cceed4db23e9366762","'
    'shape":[2]},"conv1.multiplier":{"bytes":8,"dtype":"int32","first_byte":496,"sha2'
    '56":"d23656aece6bfde83894328ee8a2a3e4ebd8d39506dd2bfa343b30b56a5e86b7","shape":['
    '2]},"conv1.table":{"bytes":256,"dtype":"int8","first_byte":520,"sha256":"8ddff7f'
    '7e89382bb42a2d91c13d0b55377aed4c13e0192353f1c3dd18c48b80b","shape":[256]},"conv1'
    '.weights":{"bytes":4,"dtype":"int8","first_byte":776,"sha256":"384b88d4399ea9815'
    'ef03d32b616b864dbb8d2051e98f0d62c95ba360dec83a9","shape":[1,2,1,2]},"dense1.bias'
    '":{"bytes":8,"dtype":"int32","first_byte":504,"sha256":"62d0a7091e63e06a2b706c9a'
    '9e814dea52543926e86007367336b990bc3c6d4b","shape":[2]},"dense1.multiplier":{"byt'
    'es":8,"dtype":"int32","first_byte":512,"sha256":"a109cc66da1367c1de46d26aa47a7d4'
    'c2284de1c4cb35e758bcf87a37bbf9ad2","shape":[2]},"dense1.weights":{"bytes":4,"dty'
    'pe":"int8","first_byte":780,"sha256":"f2a91a2616cfef0aeea496abcc2a3c8eba96205db3'
    'e118766ea04e384ffb0dce","shape":[2,2]}},"version":1,"versions":{}}'
)  # fmt: skip
_TENSORS = (
    "4AEAAAAAAAB7ImNvbnYxLmJpYXMiOnsiZHR5cGUiOiJJMzIiLCJzaGFwZSI6WzJdLCJkYXRhX29mZnNl"
    "dHMiOlswLDhdfSwiY29udjEubXVsdGlwbGllciI6eyJkdHlwZSI6IkkzMiIsInNoYXBlIjpbMl0sImRh"
    "dGFfb2Zmc2V0cyI6WzgsMTZdfSwiZGVuc2UxLmJpYXMiOnsiZHR5cGUiOiJJMzIiLCJzaGFwZSI6WzJd"
    "LCJkYXRhX29mZnNldHMiOlsxNiwyNF19LCJkZW5zZTEubXVsdGlwbGllciI6eyJkdHlwZSI6IkkzMiIs"
    "InNoYXBlIjpbMl0sImRhdGFfb2Zmc2V0cyI6WzI0LDMyXX0sImNvbnYxLnRhYmxlIjp7ImR0eXBlIjoi"
    "STgiLCJzaGFwZSI6WzI1Nl0sImRhdGFfb2Zmc2V0cyI6WzMyLDI4OF19LCJjb252MS53ZWlnaHRzIjp7"
    "ImR0eXBlIjoiSTgiLCJzaGFwZSI6WzEsMiwxLDJdLCJkYXRhX29mZnNldHMiOlsyODgsMjkyXX0sImRl"
    "bnNlMS53ZWlnaHRzIjp7ImR0eXBlIjoiSTgiLCJzaGFwZSI6WzIsMl0sImRhdGFfb2Zmc2V0cyI6WzI5"
    "MiwyOTZdfX3Owf//ARAAAF8AAAA4AQAAGeD//6T1//8JAgAAvQIAAIomaQAbeDohCw9vx1ArgORbDYhD"
    "OlisllyFCpTM++znh4GfgisGJcEdQ+L1f0574S9zJlcwNONgohQ4WAbgz+z8OGOSbwjbLBLB0jgYAdZC"
    "5NRjw7o2H4yV4FXmSdG9SmCUjivWEqZc82VLNLtEjRHnf7Jylx8UZsxmLGOzQnGM3SKbAiFDbejw+XSy"
    "/4zsch7ZfhpyhPVVQej/6we6SZPqyDw/Nmxur52hOnhtK3dfg55dlXtTddymBHjeY+JSuvrTu2RNo2x4"
    "xO0JKPGmbjGKUDuuHQCHbTjPhJdCpgNmbcSQ/lcfkSbYue5fd6QPQsLFvbVjt7mgn0fJTRZbDUNZIwPF"
    "T/Tq/g=="
)
# Of images (4, 2, 3, 1) with the pixels 37 i mod 256, i = 0..23.
OUTPUTS = [[-62, -28], [-13, -36], [-71, -25], [-36, -35]]


def write(folder: Path) -> Path:
    """The stage folder, byte for byte as it was written."""
    folder.mkdir(parents=True)
    text = json.dumps(json.loads(_MANIFEST), sort_keys=True, indent=2)
    (folder / "manifest.json").write_text(text + "\n")
    (folder / "model.safetensors").write_bytes(base64.b64decode(_TENSORS))
    return folder
