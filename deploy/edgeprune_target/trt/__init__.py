"""TensorRT: build an engine from an ONNX file, store it, run it, inspect it.

The same code serves every version from 8.2 to 11 and adapts to the installed version (devices.md 5). In these
files an object of TensorRT always has the same variable name, so that a test can check every attribute that is used
against the names that each version has:

    trt      the module                network   INetworkDefinition    runtime    Runtime
    builder  Builder                   parser    OnnxParser            engine     ICudaEngine
    config   IBuilderConfig            profile   IOptimizationProfile  context    IExecutionContext
    cache    ITimingCache              layer     ILayer                inspector  EngineInspector
    tensor   ITensor                   problem   ParserError
"""
