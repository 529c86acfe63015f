"""Networks as ONNX files, for ONNX Runtime, OpenVINO and transformers.js."""
