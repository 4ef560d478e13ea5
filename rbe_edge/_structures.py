"""What the headers in native/include/rbe declare, for ctypes: structures and callbacks. The rest is in _abi.py."""

from __future__ import annotations

import ctypes

_PLANES = ctypes.c_uint32 * 4  # by PLANES_*
_TRIED = ctypes.c_uint32 * 8
_RATES = ctypes.c_float * 8

LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
ProgressCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)
CaptureCallback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_uint32,
    ctypes.c_uint32,
    ctypes.POINTER(ctypes.c_float),
    ctypes.c_uint32,
    ctypes.c_uint32,
    ctypes.c_void_p,
)


class TokenizerHandle(ctypes.Structure):
    """rbe_tokenizer"""


class TextStreamHandle(ctypes.Structure):
    """rbe_text_stream"""


class ModelHandle(ctypes.Structure):
    """rbe_model"""


class SessionHandle(ctypes.Structure):
    """rbe_session"""


class BatchHandle(ctypes.Structure):
    """rbe_batch"""


class GenerationHandle(ctypes.Structure):
    """rbe_generation"""


class SamplerHandle(ctypes.Structure):
    """rbe_sampler"""


class ModelOptions(ctypes.Structure):
    """rbe_model_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("kernel_set", ctypes.c_char_p),
        ("skip_checksums", ctypes.c_uint32),
        ("log", LogCallback),
        ("log_user", ctypes.c_void_p),
        ("max_resident_bytes", ctypes.c_uint64),
        ("cache_bytes", ctypes.c_uint64),
        ("cache_roles", ctypes.c_uint32),
        ("first_layer", ctypes.c_uint32),
        ("n_layers", ctypes.c_uint32),
        ("without_amx", ctypes.c_uint32),
        ("file_offset", ctypes.c_uint64),
        ("file_bytes", ctypes.c_uint64),
    ]


class ModelInfo(ctypes.Structure):
    """rbe_model_info"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("file_bytes", ctypes.c_uint64),
        ("n_parameters", ctypes.c_uint64),
        ("format_version", ctypes.c_uint32),
        ("n_metadata", ctypes.c_uint32),
        ("n_tensors", ctypes.c_uint32),
        ("n_layers", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("n_vocabulary", ctypes.c_uint32),
        ("context_tokens", ctypes.c_uint32),
        ("kernel_set", ctypes.c_char_p),
    ]


class ModelMemory(ctypes.Structure):
    """rbe_model_memory"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("sessions_in_use", ctypes.c_uint64),
        ("sessions_peak", ctypes.c_uint64),
        ("sessions_held", ctypes.c_uint64),
        ("sessions_taken", ctypes.c_uint64),
        ("sessions_reused", ctypes.c_uint64),
        ("cache_limit", ctypes.c_uint64),
        ("cache_used", ctypes.c_uint64),
        ("cache_hits", ctypes.c_uint64),
        ("cache_misses", ctypes.c_uint64),
        ("resident_limit", ctypes.c_uint64),
        ("resident_pinned", ctypes.c_uint64),
    ]


class Metadata(ctypes.Structure):
    """rbe_metadata"""

    _fields_ = [
        ("key", ctypes.POINTER(ctypes.c_char)),
        ("key_bytes", ctypes.c_size_t),
        ("type", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
    ]


class TensorInfo(ctypes.Structure):
    """rbe_tensor_info"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("name", ctypes.POINTER(ctypes.c_char)),
        ("name_bytes", ctypes.c_size_t),
        ("kind", ctypes.c_uint32),
        ("rows", ctypes.c_uint32),
        ("cols", ctypes.c_uint32),
        ("rotation_block", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("n_planes", ctypes.c_uint32),
        ("plane_bits", ctypes.c_uint32 * 4),
        ("error", ctypes.c_float),
        ("data_bytes", ctypes.c_uint64),
    ]


class SessionOptions(ctypes.Structure):
    """rbe_session_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("context_tokens", ctypes.c_uint32),
        ("n_threads", ctypes.c_uint32),
        ("pass_tokens", ctypes.c_uint32),
        ("kv_type", ctypes.c_uint32),
        ("n_planes", ctypes.c_uint32),
        ("sink_tokens", ctypes.c_uint32),
        ("profile", ctypes.c_uint32),
        ("planes", _PLANES),
    ]


class SessionInfo(ctypes.Structure):
    """rbe_session_info"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("arena_bytes", ctypes.c_uint64),
        ("kv_bytes", ctypes.c_uint64),
        ("context_tokens", ctypes.c_uint32),
        ("position", ctypes.c_uint32),
        ("n_threads", ctypes.c_uint32),
        ("kv_type", ctypes.c_uint32),
    ]


class ProfileEntry(ctypes.Structure):
    """rbe_profile_entry"""

    _fields_ = [
        ("operation", ctypes.c_char_p),
        ("calls", ctypes.c_uint64),
        ("nanoseconds", ctypes.c_uint64),
    ]


class PassOptions(ctypes.Structure):
    """rbe_pass_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("n_threads", ctypes.c_uint32),
        ("n_planes", ctypes.c_uint32),
        ("planes", _PLANES),
    ]


class BatchOptions(ctypes.Structure):
    """rbe_batch_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("max_sessions", ctypes.c_uint32),
        ("n_threads", ctypes.c_uint32),
        ("n_planes", ctypes.c_uint32),
        ("planes", _PLANES),
    ]


class ChatMessage(ctypes.Structure):
    """rbe_chat_message"""

    _fields_ = [("role", ctypes.c_char_p), ("content", ctypes.c_char_p), ("content_bytes", ctypes.c_size_t)]


class ChatOptions(ctypes.Structure):
    """rbe_chat_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("style", ctypes.c_char_p),
        ("jinja", ctypes.c_char_p),
        ("jinja_bytes", ctypes.c_size_t),
        ("bos", ctypes.c_char_p),
        ("eos", ctypes.c_char_p),
        ("add_generation_prompt", ctypes.c_uint32),
        ("mark", ctypes.c_uint32),
        ("form", ctypes.c_char_p),
        ("form_bytes", ctypes.c_size_t),
    ]


DrawCallback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_float),
    ctypes.c_uint32,
    ctypes.POINTER(SamplerHandle),
    ctypes.POINTER(ctypes.c_uint32),
    ctypes.c_void_p,
)


class SamplingOptions(ctypes.Structure):
    """rbe_sampling_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("temperature", ctypes.c_float),
        ("top_k", ctypes.c_uint32),
        ("top_p", ctypes.c_float),
        ("min_p", ctypes.c_float),
        ("repeat_penalty", ctypes.c_float),
        ("repeat_last", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
    ]


class GenerationOptions(ctypes.Structure):
    """rbe_generation_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("sampling", ctypes.POINTER(SamplingOptions)),
        ("sampler", ctypes.POINTER(SamplerHandle)),
        ("max_tokens", ctypes.c_uint32),
        ("ignore_end", ctypes.c_uint32),
        ("stops", ctypes.POINTER(ctypes.c_char_p)),
        ("n_stops", ctypes.c_size_t),
        ("draw", DrawCallback),
        ("draw_user", ctypes.c_void_p),
    ]


class GenerationEvent(ctypes.Structure):
    """rbe_generation_event"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("token", ctypes.c_uint32),
        ("finish", ctypes.c_uint32),
        ("text", ctypes.POINTER(ctypes.c_char)),
        ("text_bytes", ctypes.c_size_t),
        ("rest", ctypes.POINTER(ctypes.c_char)),
        ("rest_bytes", ctypes.c_size_t),
    ]


class Codebook(ctypes.Structure):
    """rbe_codebook"""

    _fields_ = [("bits", ctypes.c_uint32), ("t1", ctypes.c_int8 * 16), ("t2", ctypes.c_int8 * 16)]


class PlaneLayout(ctypes.Structure):
    """rbe_plane_layout"""

    _fields_ = [
        ("unit_rows", ctypes.c_uint32),
        ("n_strips", ctypes.c_uint32),
        ("n_groups", ctypes.c_uint32),
        ("min_steps", ctypes.c_uint32),
        ("stream_bytes", ctypes.c_uint64),
    ]


class EncodeOptions(ctypes.Structure):
    """rbe_encode_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("n_threads", ctypes.c_uint32),
        ("progress", ProgressCallback),
        ("user", ctypes.c_void_p),
        ("feedback", ctypes.POINTER(ctypes.c_float)),
        ("residual", ctypes.c_uint32),
        ("quick", ctypes.c_uint32),
    ]


class FitOptions(ctypes.Structure):
    """rbe_fit_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("model", ctypes.POINTER(ModelOptions)),
        ("session", ctypes.POINTER(SessionOptions)),
        ("n_sessions", ctypes.c_uint32),
        ("batch_sessions", ctypes.c_uint32),
    ]


class Fit(ctypes.Structure):
    """rbe_fit"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("file_bytes", ctypes.c_uint64),
        ("weights_resident", ctypes.c_uint64),
        ("weights_on_disk", ctypes.c_uint64),
        ("tokenizer_bytes", ctypes.c_uint64),
        ("index_bytes", ctypes.c_uint64),
        ("cache_bytes", ctypes.c_uint64),
        ("kv_bytes", ctypes.c_uint64),
        ("pass_bytes", ctypes.c_uint64),
        ("needed", ctypes.c_uint64),
        ("total", ctypes.c_uint64),
        ("address_bytes", ctypes.c_uint64),
        ("context_tokens", ctypes.c_uint32),
        ("n_threads", ctypes.c_uint32),
        ("bits_per_weight", ctypes.c_float),
        ("kv_type", ctypes.c_uint32),
    ]


class Memory(ctypes.Structure):
    """rbe_memory"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("swap", ctypes.c_uint64),
        ("address_space", ctypes.c_uint64),
        ("limited_by", ctypes.c_char_p),
    ]


class FitAdvice(ctypes.Structure):
    """rbe_fit_advice"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("fits", ctypes.c_uint32),
        ("context_tokens", ctypes.c_uint32),
        ("kv_type", ctypes.c_uint32),
        ("max_resident_bytes", ctypes.c_uint64),
        ("bits_per_weight", ctypes.c_float),
        ("bits_instead", ctypes.c_float),
    ]


class ThreadsInfo(ctypes.Structure):
    """rbe_threads_info"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("state", ctypes.c_uint32),
        ("n_threads", ctypes.c_uint32),
        ("n_tried", ctypes.c_uint32),
        ("tried", _TRIED),
        ("tokens_per_s", _RATES),
    ]


class ThreadsKept(ctypes.Structure):
    """rbe_threads_kept"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("machine", ctypes.c_uint32),
        ("size_class", ctypes.c_uint32),
        ("n_threads", ctypes.c_uint32),
        ("n_tried", ctypes.c_uint32),
        ("tried", _TRIED),
        ("tokens_per_s", _RATES),
    ]
