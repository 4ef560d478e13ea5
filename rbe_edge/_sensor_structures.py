"""What rbe/power.h declares, for ctypes: its structures. Constants and prototypes are in _abi.py."""

from __future__ import annotations

import ctypes


class PowerHandle(ctypes.Structure):
    """rbe_power"""


class PowerOptions(ctypes.Structure):
    """rbe_power_options"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("root", ctypes.c_char_p),
        ("firmware", ctypes.c_char_p),
        ("firmware_program", ctypes.c_char_p),
    ]


class PowerSample(ctypes.Structure):
    """rbe_power_sample"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("time_ns", ctypes.c_uint64),
        ("battery_level", ctypes.c_double),
        ("current_a", ctypes.c_double),
        ("voltage_v", ctypes.c_double),
        ("power_w", ctypes.c_double),
        ("temperature_c", ctypes.c_double),
        ("mhz_least", ctypes.c_double),
        ("mhz_most", ctypes.c_double),
        ("mhz_limit", ctypes.c_double),
        ("battery", ctypes.c_uint32),
        ("charging", ctypes.c_uint32),
        ("throttled", ctypes.c_uint32),
        ("temperature_sensor", ctypes.c_char * 48),
        ("throttled_by", ctypes.c_char * 96),
    ]


class Energy(ctypes.Structure):
    """rbe_energy"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("joules", ctypes.c_double),
        ("seconds", ctypes.c_double),
        ("resolution_j", ctypes.c_double),
        ("readable", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("source", ctypes.c_char * 64),
        ("covers", ctypes.c_char * 32),
        ("missing", ctypes.c_char * 192),
    ]


class Policy(ctypes.Structure):
    """rbe_policy"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("performance_above", ctypes.c_double),
        ("balanced_above", ctypes.c_double),
        ("saver_above", ctypes.c_double),
        ("hysteresis", ctypes.c_double),
        ("hot", ctypes.c_double),
        ("cool", ctypes.c_double),
        ("least_seconds", ctypes.c_double),
        ("charger_seconds", ctypes.c_double),
        ("override_mode", ctypes.c_uint32),
    ]


class PolicyState(ctypes.Structure):
    """rbe_policy_state"""

    _fields_ = [
        ("switched_ns", ctypes.c_uint64),
        ("hot_ns", ctypes.c_uint64),
        ("charger_ns", ctypes.c_uint64),
        ("started", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("level_mode", ctypes.c_uint32),
        ("hot", ctypes.c_uint32),
        ("charging", ctypes.c_uint32),
        ("charger_seen", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    ]


class PolicyDecision(ctypes.Structure):
    """rbe_policy_decision"""

    _fields_ = [
        ("struct_bytes", ctypes.c_size_t),
        ("mode", ctypes.c_uint32),
        ("previous", ctypes.c_uint32),
        ("switched", ctypes.c_uint32),
        ("reason", ctypes.c_char * 64),
    ]
