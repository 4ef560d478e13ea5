/* Pre-tokenizers that first set numbers and Chinese and Japanese writing apart (DeepSeek-V3, Hunyuan, Spark-X2.5). */
#ifndef RBE_TOKENIZER_SCRIPT_PARTS_H
#define RBE_TOKENIZER_SCRIPT_PARTS_H

#include "text/tokenizer/pretokenize.h"

/* The end of the next piece. Numbers come n_digits at a time. newlines: marks take the ends of lines behind them along, and white space ends
 * with its last end of a line; else each such end is a piece. */
size_t rbe__script_parts_end(rbe__pieces *pieces, int n_digits, int newlines);

#endif
