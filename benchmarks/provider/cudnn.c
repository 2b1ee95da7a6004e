// cuDNN's graph interface as its frontend asks it: one engine for whatever is wanted, without
// knobs, notes and scratch.
#include "record.h"

enum { INT64 = 3, INT32 = 23, KNOB_CHOICES = 302, FIRST_OF_LISTS = 1303, LAST_OF_LISTS = 1306 };

int cudnnCreate(void **made) { return make_handle(made); }
int cudnnDestroy(void *handle) { (void)handle; return 0; }
int cudnnSetStream(void *handle, void *stream) { return set_stream(handle, stream); }
int cudnnGetStream(void *handle, void **stream) { *stream = stream_of(handle); return 0; }
size_t cudnnGetVersion(void) { return 92000; }
size_t cudnnGetCudartVersion(void) { return 13000; }
const char *cudnnGetErrorString(int code) { (void)code; return "silent"; }
void cudnnGetLastErrorString(char *text, size_t length) { if (length) *text = 0; }

int cudnnBackendCreateDescriptor(int type, void **made)
{ (void)type; return make_handle(made); }
int cudnnBackendDestroyDescriptor(void *descriptor) { (void)descriptor; return 0; }
int cudnnBackendInitialize(void *descriptor) { (void)descriptor; return 0; }
int cudnnBackendFinalize(void *descriptor) { (void)descriptor; return 0; }
int cudnnBackendSetAttribute(void) { return 0; }
int cudnnBackendGetAttribute(void *descriptor, int name, int type, int64_t most, int64_t *count,
                             void *values)
{
    (void)descriptor;
    int is_list = name == KNOB_CHOICES || (FIRST_OF_LISTS <= name && name <= LAST_OF_LISTS);
    if (count)
        *count = is_list ? 0 : 1;
    if (values && most > 0 && type == INT64)
        *(int64_t *)values = 0;
    if (values && most > 0 && type == INT32)
        *(int32_t *)values = 0;
    return 0;
}
int cudnnBackendExecute(void *handle, void *plan, void *pack)
{
    (void)plan, (void)pack;
    record("product cudnn stream %p\n", stream_of(handle));
    return 0;
}

int cudnnCreateTensorDescriptor(void **made) { return make_handle(made); }
int cudnnDestroyTensorDescriptor(void *descriptor) { (void)descriptor; return 0; }
int cudnnSetTensorNdDescriptor(void) { return 0; }
int cudnnCreateReduceTensorDescriptor(void **made) { return make_handle(made); }
int cudnnDestroyReduceTensorDescriptor(void *descriptor) { (void)descriptor; return 0; }
int cudnnSetReduceTensorDescriptor(void) { return 0; }
static int no_scratch(void *handle, void *how, void *from, void *to, size_t *nbytes)
{ (void)handle, (void)how, (void)from, (void)to; *nbytes = 0; return 0; }
int cudnnGetReductionIndicesSize(void *handle, void *how, void *from, void *to, size_t *nbytes)
{ return no_scratch(handle, how, from, to, nbytes); }
int cudnnGetReductionWorkspaceSize(void *handle, void *how, void *from, void *to, size_t *nbytes)
{ return no_scratch(handle, how, from, to, nbytes); }
int cudnnReduceTensor(void *handle)
{ record("launch cudnnReduceTensor stream %p\n", stream_of(handle)); return 0; }
int cudnnSoftmaxForward(void *handle)
{ record("launch cudnnSoftmax stream %p\n", stream_of(handle)); return 0; }
