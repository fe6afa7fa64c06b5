/*
 * The part of ONNX Runtime's C interface that custom operators need. `OrtApi` is a table of function pointers that only ever
 * grows: an entry keeps its index in every later version, so indices are all that is stated here (src/engine/runtime/
 * c-api-table.ts does the same on the other side). Pointers to objects of the runtime are opaque.
 */
#ifndef AZ_ORT_ABI_H
#define AZ_ORT_ABI_H
#include <stddef.h>
#include <stdint.h>

/* The version asked for: any runtime from 1.24 on grants it. */
#define ORT_ABI_VERSION 24

typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef void (*OrtFunction)(void);

typedef struct {
  OrtFunction entry[280];
} OrtApi;

typedef struct {
  const OrtApi *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} OrtApiBase;

/* Element types of tensors. */
enum { ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT8 = 3, ORT_INT32 = 6, ORT_INT64 = 7, ORT_BOOL = 9, ORT_BFLOAT16 = 16 };
/* What an input or output is. */
enum { ORT_REQUIRED = 0, ORT_OPTIONAL = 1, ORT_VARIADIC = 2 };
enum { ORT_FAIL = 1 };

#define ORT_CALL(api, index, result, ...) ((result(*)(__VA_ARGS__))(api)->entry[index])
#define ORT_CREATE_STATUS(api) ORT_CALL(api, 0, OrtStatus *, int, const char *)
#define ORT_GET_ERROR_MESSAGE(api) ORT_CALL(api, 2, const char *, const OrtStatus *)
#define ORT_CREATE_DOMAIN(api) ORT_CALL(api, 26, OrtStatus *, const char *, OrtCustomOpDomain **)
#define ORT_DOMAIN_ADD(api) ORT_CALL(api, 27, OrtStatus *, OrtCustomOpDomain *, const void *)
#define ORT_ADD_DOMAIN(api) ORT_CALL(api, 28, OrtStatus *, OrtSessionOptions *, OrtCustomOpDomain *)
#define ORT_TENSOR_DATA(api) ORT_CALL(api, 51, OrtStatus *, OrtValue *, void **)
#define ORT_DIM_COUNT(api) ORT_CALL(api, 61, OrtStatus *, const OrtTensorTypeAndShapeInfo *, size_t *)
#define ORT_DIMS(api) ORT_CALL(api, 62, OrtStatus *, const OrtTensorTypeAndShapeInfo *, int64_t *, size_t)
#define ORT_TYPE_AND_SHAPE(api) ORT_CALL(api, 65, OrtStatus *, const OrtValue *, OrtTensorTypeAndShapeInfo **)
#define ORT_ATTRIBUTE_FLOAT(api) ORT_CALL(api, 85, OrtStatus *, const OrtKernelInfo *, const char *, float *)
#define ORT_ATTRIBUTE_INT(api) ORT_CALL(api, 86, OrtStatus *, const OrtKernelInfo *, const char *, int64_t *)
#define ORT_INPUT_COUNT(api) ORT_CALL(api, 88, OrtStatus *, const OrtKernelContext *, size_t *)
#define ORT_OUTPUT_COUNT(api) ORT_CALL(api, 89, OrtStatus *, const OrtKernelContext *, size_t *)
#define ORT_GET_INPUT(api) ORT_CALL(api, 90, OrtStatus *, const OrtKernelContext *, size_t, const OrtValue **)
#define ORT_GET_OUTPUT(api) \
  ORT_CALL(api, 91, OrtStatus *, OrtKernelContext *, size_t, const int64_t *, size_t, OrtValue **)
#define ORT_RELEASE_STATUS(api) ORT_CALL(api, 93, void, OrtStatus *)
#define ORT_RELEASE_SHAPE(api) ORT_CALL(api, 99, void, OrtTensorTypeAndShapeInfo *)
#define ORT_ATTRIBUTE_INTS(api) ORT_CALL(api, 163, OrtStatus *, const OrtKernelInfo *, const char *, int64_t *, size_t *)
#define ORT_PARALLEL_FOR(api) \
  ORT_CALL(api, 274, OrtStatus *, const OrtKernelContext *, void (*)(void *, size_t), size_t, size_t, void *)

/* Callbacks by which the runtime asks about an op; unused ones are null. */
typedef struct OrtCustomOp OrtCustomOp;
struct OrtCustomOp {
  uint32_t version;
  void *(*create_kernel)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *);
  const char *(*get_name)(const OrtCustomOp *);
  const char *(*get_provider)(const OrtCustomOp *);
  int (*get_input_type)(const OrtCustomOp *, size_t);
  size_t (*get_input_count)(const OrtCustomOp *);
  int (*get_output_type)(const OrtCustomOp *, size_t);
  size_t (*get_output_count)(const OrtCustomOp *);
  void (*kernel_compute)(void *, OrtKernelContext *);
  void (*kernel_destroy)(void *);
  int (*get_input_kind)(const OrtCustomOp *, size_t);
  int (*get_output_kind)(const OrtCustomOp *, size_t);
  int (*get_input_memory)(const OrtCustomOp *, size_t);
  int (*get_variadic_input_min)(const OrtCustomOp *);
  int (*get_variadic_input_same)(const OrtCustomOp *);
  int (*get_variadic_output_min)(const OrtCustomOp *);
  int (*get_variadic_output_same)(const OrtCustomOp *);
  OrtStatus *(*create_kernel_v2)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *, void **);
  OrtStatus *(*kernel_compute_v2)(void *, OrtKernelContext *);
  OrtStatus *(*infer_shapes)(const OrtCustomOp *, void *);
  int (*get_start_version)(const OrtCustomOp *);
  int (*get_end_version)(const OrtCustomOp *);
  size_t (*get_may_inplace)(int **, int **);
  void (*release_may_inplace)(int *, int *);
  size_t (*get_alias_map)(int **, int **);
  void (*release_alias_map)(int *, int *);
};
#endif
