/* How kernels say that a function is a template and that a loop over registers is to be written out.
 *
 * Arrays of vectors become registers only where every index is a constant: RBE_UNROLL(n) stands before a loop of at most n
 * rounds, whose number is a constant once its function has been inlined. */
#ifndef RBE_KERNELS_SHARED_INLINE_H
#define RBE_KERNELS_SHARED_INLINE_H

#define RBE_INLINE static inline __attribute__((always_inline))

#define RBE_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define RBE_UNROLL(n) RBE_PRAGMA(clang loop unroll(full))
#elif defined(__SANITIZE_ADDRESS__)
#define RBE_UNROLL(n) /* the sanitizers' checks split loops, which gcc would complain of */
#else
#define RBE_UNROLL(n) RBE_PRAGMA(GCC unroll n)
#endif

#endif
