#include "record.h"

int cublasLtCreate(void **made) { *made = new_handle(); return 0; }
int cublasLtMatmulDescCreate(void **made) { *made = new_handle(); return 0; }
int cublasLtMatmulPreferenceCreate(void **made) { *made = new_handle(); return 0; }
int cublasLtMatrixLayoutCreate(void **made) { *made = new_handle(); return 0; }
int cublasLtMatmul(void) { record("product cublasLtMatmul\n"); return 0; }
