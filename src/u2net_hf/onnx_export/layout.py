"""Where the files of an export lie, by the type of their numbers; for the engines too, so it imports nothing."""

ONNX_FOLDER = "onnx"
# The names are those that transformers.js looks for.
FILE_NAMES = {"float32": "model.onnx", "float16": "model_fp16.onnx", "int8": "model_quantized.onnx"}
# What transformers.js calls the types.
BROWSER_DTYPES = {"float32": "fp32", "float16": "fp16", "int8": "q8"}
