// cuBLAS: products that are written down. A handle has its stream, as the genuine one has.
#include "record.h"

int cublasCreate_v2(void **made) { return make_handle(made); }
int cublasSetStream_v2(void *handle, void *stream) { return set_stream(handle, stream); }
int cublasGetMathMode(void *handle, int *mode) { (void)handle; *mode = 0; return 0; }
const char *cublasGetStatusString(int code) { (void)code; return "silent"; }
const char *cublasGetStatusName(int code) { (void)code; return "silent"; }

#define PRODUCT(name) \
    int name(void *handle) { record("product %s stream %p\n", #name, stream_of(handle)); return 0; }
PRODUCT(cublasSgemm_v2)
PRODUCT(cublasSgemmBatched)
PRODUCT(cublasSgemmStridedBatched)
PRODUCT(cublasGemmEx)
PRODUCT(cublasGemmBatchedEx)
PRODUCT(cublasGemmStridedBatchedEx)
