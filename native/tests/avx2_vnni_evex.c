#define RBE_VNNI_EVEX 1
#include "kernels/avx2/integer_vnni.c"
