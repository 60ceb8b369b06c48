//! The ONNX model file: protobuf types, byte-exact splicing, external data, atomic writing.
