// One line for each call, in the file that CUDA_CALLS names.
#pragma once
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 1, 2))) static void record(const char *format, ...)
{
    FILE *calls = fopen(getenv("CUDA_CALLS"), "a");
    va_list values;
    va_start(values, format);
    vfprintf(calls, format, values);
    va_end(values);
    fclose(calls);
}

// A handle that is no other's, with the stream that was set for it.
static inline int make_handle(void **made) { *made = calloc(1, sizeof(void *)); return !*made; }
static inline int set_stream(void *handle, void *stream) { *(void **)handle = stream; return 0; }
static inline void *stream_of(void *handle) { return *(void **)handle; }
