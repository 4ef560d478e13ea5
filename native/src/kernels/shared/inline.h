/* How kernels say that a function is a template and that a loop over registers is to be written out.
 *
 * Arrays of vectors become registers only where every index is a constant: RBE_UNROLL(n) stands before a loop of at most n
 * rounds, whose number is a constant once its function has been inlined. */
#ifndef RBE_KERNELS_SHARED_INLINE_H
#define RBE_KERNELS_SHARED_INLINE_H

#define RBE_INLINE static inline __attribute__((always_inline))

#if defined(__SANITIZE_ADDRESS__)
#define RBE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RBE_SANITIZED 1
#endif
#endif

#define RBE_PRAGMA(text) _Pragma(#text)
#if defined(RBE_SANITIZED)
#define RBE_UNROLL(n) /* the sanitizers' checks split loops: gcc would complain, clang would take minutes for one file */
#elif defined(__clang__)
#define RBE_UNROLL(n) RBE_PRAGMA(clang loop unroll(full))
#else
#define RBE_UNROLL(n) RBE_PRAGMA(GCC unroll n)
#endif

#endif
