// cuBLAS and cuBLASLt: products that are written down.
#include "record.h"

static _Thread_local void *on;

int cublasCreate_v2(void **made) { *made = new_handle(); return 0; }
int cublasSetStream_v2(void *handle, void *stream) { (void)handle; on = stream; return 0; }
int cublasGetMathMode(void *handle, int *mode) { (void)handle; *mode = 0; return 0; }
const char *cublasGetStatusString(int code) { (void)code; return "silent"; }
const char *cublasGetStatusName(int code) { (void)code; return "silent"; }

#define PRODUCT(name) int name(void) { record("product %s stream %p\n", #name, on); return 0; }
PRODUCT(cublasSgemm_v2)
PRODUCT(cublasSgemmBatched)
PRODUCT(cublasSgemmStridedBatched)
PRODUCT(cublasGemmEx)
PRODUCT(cublasGemmBatchedEx)
PRODUCT(cublasGemmStridedBatchedEx)
