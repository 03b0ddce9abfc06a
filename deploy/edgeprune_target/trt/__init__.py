"""TensorRT: building an engine from an ONNX file, keeping it, running it, looking into it.

One code for every version from 8.2 to 11, chosen by what the installed version has (devices.md 5). In these
files an object of TensorRT always goes by the same word, so that a test can check every name that is asked
of it against the names that each version has:

    trt      the module                network   INetworkDefinition    runtime    Runtime
    builder  Builder                   parser    OnnxParser            engine     ICudaEngine
    config   IBuilderConfig            profile   IOptimizationProfile  context    IExecutionContext
    cache    ITimingCache              layer     ILayer                inspector  EngineInspector
    tensor   ITensor                   problem   ParserError
"""
