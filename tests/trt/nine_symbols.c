/* What the Python bindings of TensorRT 11 need of its three libraries to be imported. Nothing can be
   built or run with it: every factory gives NULL. */
#define ABSENT(name) void *name(void) { return 0; }

ABSENT(createInferBuilder_INTERNAL)
ABSENT(createInferRefitter_INTERNAL)
ABSENT(createInferRuntime_INTERNAL)
ABSENT(createNvOnnxParser_INTERNAL)
ABSENT(createNvOnnxParserRefitter_INTERNAL)
ABSENT(getBuilderPluginRegistry)
ABSENT(getNvOnnxParserVersion)
ABSENT(getPluginRegistry)
ABSENT(initLibNvInferPlugins)
