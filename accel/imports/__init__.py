"""Networks from outside: SCALE-Sim topologies, shapes of ONNX files, our own int8 ONNX."""
