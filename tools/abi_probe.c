/* Prints what a C compiler makes of the headers of the library: sizes and offsets of all structures, values of all constants. Read by
 * tools/check_abi.py, which also checks that nothing of the headers is missing here. */
#include <inttypes.h>
#include <stdio.h>

#include "rbe/chat.h"
#include "rbe/codec.h"
#include "rbe/effort.h"
#include "rbe/encoder.h"
#include "rbe/encoder_decoder.h"
#include "rbe/faults.h"
#include "rbe/fit.h"
#include "rbe/governor.h"
#include "rbe/gradients.h"
#include "rbe/layer_embeddings.h"
#include "rbe/modes.h"
#include "rbe/parts.h"
#include "rbe/rbe.h"
#include "rbe/sampling.h"
#include "rbe/threads.h"

#define STRUCTURE(name) printf("structure %s %zu\n", #name, sizeof(name))
#define FIELD(name, field) printf("field %s %s %zu %zu\n", #name, #field, offsetof(name, field), sizeof(((name *)NULL)->field))
#define CONSTANT(name) printf("constant %s %" PRIu64 "\n", #name, (uint64_t)(name))

#include "abi_probe_encoder.h"
#include "abi_probe_gradients.h"
#include "abi_probe_power.h"

static void structures(void)
{
    STRUCTURE(rbe_model_options);
    FIELD(rbe_model_options, struct_bytes);
    FIELD(rbe_model_options, kernel_set);
    FIELD(rbe_model_options, skip_checksums);
    FIELD(rbe_model_options, log);
    FIELD(rbe_model_options, log_user);
    FIELD(rbe_model_options, max_resident_bytes);
    FIELD(rbe_model_options, cache_bytes);
    FIELD(rbe_model_options, cache_roles);
    FIELD(rbe_model_options, first_layer);
    FIELD(rbe_model_options, n_layers);
    FIELD(rbe_model_options, without_amx);
    FIELD(rbe_model_options, file_offset);
    FIELD(rbe_model_options, file_bytes);

    STRUCTURE(rbe_effort);
    FIELD(rbe_effort, struct_bytes);
    FIELD(rbe_effort, embedding);
    FIELD(rbe_effort, lm_head);
    FIELD(rbe_effort, n_layers);
    FIELD(rbe_effort, attention);
    FIELD(rbe_effort, feed_forward);

    STRUCTURE(rbe_workers);
    FIELD(rbe_workers, struct_bytes);
    FIELD(rbe_workers, n_threads);
    FIELD(rbe_workers, sleep);
    FIELD(rbe_workers, slow_cores);

    STRUCTURE(rbe_model_info);
    FIELD(rbe_model_info, struct_bytes);
    FIELD(rbe_model_info, file_bytes);
    FIELD(rbe_model_info, n_parameters);
    FIELD(rbe_model_info, format_version);
    FIELD(rbe_model_info, n_metadata);
    FIELD(rbe_model_info, n_tensors);
    FIELD(rbe_model_info, n_layers);
    FIELD(rbe_model_info, width);
    FIELD(rbe_model_info, n_vocabulary);
    FIELD(rbe_model_info, context_tokens);
    FIELD(rbe_model_info, kernel_set);

    STRUCTURE(rbe_model_memory);
    FIELD(rbe_model_memory, struct_bytes);
    FIELD(rbe_model_memory, sessions_in_use);
    FIELD(rbe_model_memory, sessions_peak);
    FIELD(rbe_model_memory, sessions_held);
    FIELD(rbe_model_memory, sessions_taken);
    FIELD(rbe_model_memory, sessions_reused);
    FIELD(rbe_model_memory, cache_limit);
    FIELD(rbe_model_memory, cache_used);
    FIELD(rbe_model_memory, cache_hits);
    FIELD(rbe_model_memory, cache_misses);
    FIELD(rbe_model_memory, resident_limit);
    FIELD(rbe_model_memory, resident_pinned);

    STRUCTURE(rbe_metadata);
    FIELD(rbe_metadata, key);
    FIELD(rbe_metadata, key_bytes);
    FIELD(rbe_metadata, type);
    FIELD(rbe_metadata, count);
    FIELD(rbe_metadata, data);

    STRUCTURE(rbe_tensor_info);
    FIELD(rbe_tensor_info, struct_bytes);
    FIELD(rbe_tensor_info, name);
    FIELD(rbe_tensor_info, name_bytes);
    FIELD(rbe_tensor_info, kind);
    FIELD(rbe_tensor_info, rows);
    FIELD(rbe_tensor_info, cols);
    FIELD(rbe_tensor_info, rotation_block);
    FIELD(rbe_tensor_info, seed);
    FIELD(rbe_tensor_info, n_planes);
    FIELD(rbe_tensor_info, plane_bits);
    FIELD(rbe_tensor_info, error);
    FIELD(rbe_tensor_info, data_bytes);

    STRUCTURE(rbe_session_options);
    FIELD(rbe_session_options, struct_bytes);
    FIELD(rbe_session_options, context_tokens);
    FIELD(rbe_session_options, n_threads);
    FIELD(rbe_session_options, pass_tokens);
    FIELD(rbe_session_options, kv_type);
    FIELD(rbe_session_options, n_planes);
    FIELD(rbe_session_options, sink_tokens);
    FIELD(rbe_session_options, profile);
    FIELD(rbe_session_options, planes);

    STRUCTURE(rbe_pass_options);
    FIELD(rbe_pass_options, struct_bytes);
    FIELD(rbe_pass_options, n_threads);
    FIELD(rbe_pass_options, n_planes);
    FIELD(rbe_pass_options, planes);

    STRUCTURE(rbe_session_info);
    FIELD(rbe_session_info, struct_bytes);
    FIELD(rbe_session_info, arena_bytes);
    FIELD(rbe_session_info, kv_bytes);
    FIELD(rbe_session_info, context_tokens);
    FIELD(rbe_session_info, position);
    FIELD(rbe_session_info, n_threads);
    FIELD(rbe_session_info, kv_type);

    STRUCTURE(rbe_profile_entry);
    FIELD(rbe_profile_entry, operation);
    FIELD(rbe_profile_entry, calls);
    FIELD(rbe_profile_entry, nanoseconds);

    STRUCTURE(rbe_batch_options);
    FIELD(rbe_batch_options, struct_bytes);
    FIELD(rbe_batch_options, max_sessions);
    FIELD(rbe_batch_options, n_threads);
    FIELD(rbe_batch_options, n_planes);
    FIELD(rbe_batch_options, planes);

    STRUCTURE(rbe_chat_message);
    FIELD(rbe_chat_message, role);
    FIELD(rbe_chat_message, content);
    FIELD(rbe_chat_message, content_bytes);

    STRUCTURE(rbe_chat_options);
    FIELD(rbe_chat_options, struct_bytes);
    FIELD(rbe_chat_options, style);
    FIELD(rbe_chat_options, jinja);
    FIELD(rbe_chat_options, jinja_bytes);
    FIELD(rbe_chat_options, bos);
    FIELD(rbe_chat_options, eos);
    FIELD(rbe_chat_options, add_generation_prompt);
    FIELD(rbe_chat_options, mark);
    FIELD(rbe_chat_options, form);
    FIELD(rbe_chat_options, form_bytes);

    STRUCTURE(rbe_sampling_options);
    FIELD(rbe_sampling_options, struct_bytes);
    FIELD(rbe_sampling_options, temperature);
    FIELD(rbe_sampling_options, top_k);
    FIELD(rbe_sampling_options, top_p);
    FIELD(rbe_sampling_options, min_p);
    FIELD(rbe_sampling_options, repeat_penalty);
    FIELD(rbe_sampling_options, repeat_last);
    FIELD(rbe_sampling_options, seed);

    STRUCTURE(rbe_generation_options);
    FIELD(rbe_generation_options, struct_bytes);
    FIELD(rbe_generation_options, sampling);
    FIELD(rbe_generation_options, sampler);
    FIELD(rbe_generation_options, max_tokens);
    FIELD(rbe_generation_options, ignore_end);
    FIELD(rbe_generation_options, stops);
    FIELD(rbe_generation_options, n_stops);
    FIELD(rbe_generation_options, draw);
    FIELD(rbe_generation_options, draw_user);

    STRUCTURE(rbe_generation_event);
    FIELD(rbe_generation_event, struct_bytes);
    FIELD(rbe_generation_event, token);
    FIELD(rbe_generation_event, finish);
    FIELD(rbe_generation_event, text);
    FIELD(rbe_generation_event, text_bytes);
    FIELD(rbe_generation_event, rest);
    FIELD(rbe_generation_event, rest_bytes);

    STRUCTURE(rbe_fit_options);
    FIELD(rbe_fit_options, struct_bytes);
    FIELD(rbe_fit_options, model);
    FIELD(rbe_fit_options, session);
    FIELD(rbe_fit_options, n_sessions);
    FIELD(rbe_fit_options, batch_sessions);

    STRUCTURE(rbe_fit);
    FIELD(rbe_fit, struct_bytes);
    FIELD(rbe_fit, file_bytes);
    FIELD(rbe_fit, weights_resident);
    FIELD(rbe_fit, weights_on_disk);
    FIELD(rbe_fit, tokenizer_bytes);
    FIELD(rbe_fit, index_bytes);
    FIELD(rbe_fit, cache_bytes);
    FIELD(rbe_fit, kv_bytes);
    FIELD(rbe_fit, pass_bytes);
    FIELD(rbe_fit, needed);
    FIELD(rbe_fit, total);
    FIELD(rbe_fit, address_bytes);
    FIELD(rbe_fit, context_tokens);
    FIELD(rbe_fit, n_threads);
    FIELD(rbe_fit, bits_per_weight);
    FIELD(rbe_fit, kv_type);

    STRUCTURE(rbe_memory);
    FIELD(rbe_memory, struct_bytes);
    FIELD(rbe_memory, total);
    FIELD(rbe_memory, available);
    FIELD(rbe_memory, swap);
    FIELD(rbe_memory, address_space);
    FIELD(rbe_memory, limited_by);

    STRUCTURE(rbe_fit_advice);
    FIELD(rbe_fit_advice, struct_bytes);
    FIELD(rbe_fit_advice, fits);
    FIELD(rbe_fit_advice, context_tokens);
    FIELD(rbe_fit_advice, kv_type);
    FIELD(rbe_fit_advice, max_resident_bytes);
    FIELD(rbe_fit_advice, bits_per_weight);
    FIELD(rbe_fit_advice, bits_instead);

    STRUCTURE(rbe_part_info);
    FIELD(rbe_part_info, struct_bytes);
    FIELD(rbe_part_info, name);
    FIELD(rbe_part_info, name_bytes);
    FIELD(rbe_part_info, version);
    FIELD(rbe_part_info, flags);
    FIELD(rbe_part_info, known);
    FIELD(rbe_part_info, data_bytes);

    STRUCTURE(rbe_mode);
    FIELD(rbe_mode, struct_bytes);
    FIELD(rbe_mode, mode);
    FIELD(rbe_mode, found);
    FIELD(rbe_mode, embedding);
    FIELD(rbe_mode, lm_head);
    FIELD(rbe_mode, n_layers);
    FIELD(rbe_mode, against);
    FIELD(rbe_mode, attention);
    FIELD(rbe_mode, feed_forward);
    FIELD(rbe_mode, bytes_per_token);
    FIELD(rbe_mode, n_tokens);
    FIELD(rbe_mode, perplexity);
    FIELD(rbe_mode, kl);
    FIELD(rbe_mode, kl_error);
    FIELD(rbe_mode, top1);
    FIELD(rbe_mode, reason);
    FIELD(rbe_mode, text);

    STRUCTURE(rbe_threads_info);
    FIELD(rbe_threads_info, struct_bytes);
    FIELD(rbe_threads_info, state);
    FIELD(rbe_threads_info, n_threads);
    FIELD(rbe_threads_info, n_tried);
    FIELD(rbe_threads_info, tried);
    FIELD(rbe_threads_info, tokens_per_s);

    STRUCTURE(rbe_threads_kept);
    FIELD(rbe_threads_kept, struct_bytes);
    FIELD(rbe_threads_kept, machine);
    FIELD(rbe_threads_kept, size_class);
    FIELD(rbe_threads_kept, n_threads);
    FIELD(rbe_threads_kept, n_tried);
    FIELD(rbe_threads_kept, tried);
    FIELD(rbe_threads_kept, tokens_per_s);

    STRUCTURE(rbe_codebook);
    FIELD(rbe_codebook, bits);
    FIELD(rbe_codebook, t1);
    FIELD(rbe_codebook, t2);

    STRUCTURE(rbe_plane_layout);
    FIELD(rbe_plane_layout, unit_rows);
    FIELD(rbe_plane_layout, n_strips);
    FIELD(rbe_plane_layout, n_groups);
    FIELD(rbe_plane_layout, min_steps);
    FIELD(rbe_plane_layout, stream_bytes);

    STRUCTURE(rbe_encode_options);
    FIELD(rbe_encode_options, struct_bytes);
    FIELD(rbe_encode_options, n_threads);
    FIELD(rbe_encode_options, progress);
    FIELD(rbe_encode_options, user);
    FIELD(rbe_encode_options, feedback);
    FIELD(rbe_encode_options, residual);
    FIELD(rbe_encode_options, quick);
}

static void constants(void)
{
    CONSTANT(RBE_FORMAT_VERSION);
    CONSTANT(RBE_PART_REQUIRED);
    CONSTANT(RBE_OK);
    CONSTANT(RBE_ERROR_ARGUMENT);
    CONSTANT(RBE_ERROR_MEMORY);
    CONSTANT(RBE_ERROR_IO);
    CONSTANT(RBE_ERROR_FORMAT);
    CONSTANT(RBE_ERROR_UNSUPPORTED);
    CONSTANT(RBE_ERROR_CONTEXT);
    CONSTANT(RBE_ERROR_CANCELLED);
    CONSTANT(RBE_ERROR_CAPACITY);
    CONSTANT(RBE_TOKENIZE_SPECIAL_PREFIX);
    CONSTANT(RBE_TOKENIZE_PARSE_SPECIAL);
    CONSTANT(RBE_TOKENIZE_MARKED);
    CONSTANT(RBE_NO_TOKEN);
    CONSTANT(RBE_VALUE_U64);
    CONSTANT(RBE_VALUE_F64);
    CONSTANT(RBE_VALUE_STRING);
    CONSTANT(RBE_VALUE_U64_ARRAY);
    CONSTANT(RBE_KV_F16);
    CONSTANT(RBE_KV_F32);
    CONSTANT(RBE_KV_Q8);
    CONSTANT(RBE_KV_Q8Q4);
    CONSTANT(RBE_KV_AUTO);
    CONSTANT(RBE_CAPTURE_QKV);
    CONSTANT(RBE_CAPTURE_O);
    CONSTANT(RBE_CAPTURE_UP);
    CONSTANT(RBE_CAPTURE_DOWN);
    CONSTANT(RBE_CAPTURE_LM_HEAD);
    CONSTANT(RBE_SKIP);
    CONSTANT(RBE_PLANES_ATTENTION);
    CONSTANT(RBE_PLANES_FEED_FORWARD);
    CONSTANT(RBE_PLANES_EMBEDDING);
    CONSTANT(RBE_PLANES_LM_HEAD);
    CONSTANT(RBE_PLANES_KINDS);
    CONSTANT(RBE_FINISH_NONE);
    CONSTANT(RBE_FINISH_END);
    CONSTANT(RBE_FINISH_STOP);
    CONSTANT(RBE_FINISH_LENGTH);
    CONSTANT(RBE_FINISH_CONTEXT);
    CONSTANT(RBE_FINISH_CALLER);
    CONSTANT(RBE_CACHE_EMBEDDINGS);
    CONSTANT(RBE_CACHE_ATTENTION);
    CONSTANT(RBE_CACHE_FEED_FORWARD);
    CONSTANT(RBE_CACHE_NOTHING);
    CONSTANT(RBE_UNLIMITED);
    CONSTANT(RBE_THREADS_CHOSEN);
    CONSTANT(RBE_THREADS_TRYING);
    CONSTANT(RBE_THREADS_FOUND);
    CONSTANT(RBE_THREADS_KEPT);
}

int main(void)
{
    printf("version %s\n", RBE_VERSION);
    structures();
    constants();
    power_structures();
    governor_structures();
    policy_structures();
    power_constants();
    gradients_declarations();
    encoder_declarations();
    return 0;
}
