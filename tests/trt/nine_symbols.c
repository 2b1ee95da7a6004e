/* What the Python bindings of TensorRT 11 need of its three libraries to be imported. Nothing can be
   built or run with it: every factory gives NULL, but that of runtimes, one whose calls do nothing. */
#define ABSENT(name) void *name(void) { return 0; }

ABSENT(createInferBuilder_INTERNAL)
ABSENT(createInferRefitter_INTERNAL)
ABSENT(createNvOnnxParser_INTERNAL)
ABSENT(createNvOnnxParserRefitter_INTERNAL)
ABSENT(getBuilderPluginRegistry)
ABSENT(getNvOnnxParserVersion)
ABSENT(getPluginRegistry)
ABSENT(initLibNvInferPlugins)

/* The headers' inline methods call the implementation's, which lies behind the object's own table. */
static void *nothing(void) { return 0; }
static void *methods[64];
struct runtime { void **methods; struct runtime *implementation; };

void *createInferRuntime_INTERNAL(void)
{
    static struct runtime runtime = {methods, &runtime};
    for (int index = 0; index < 64; index++)
        methods[index] = nothing;
    return &runtime;
}
