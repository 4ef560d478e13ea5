#include "sensors.h"

#include <math.h>
#include <stdio.h>

#include "text.h"

rbe_status read_sensors(sensors *out)
{
    rbe_power *power = NULL;
    *out = (sensors){.sample = {.struct_bytes = sizeof out->sample}, .energy = {.struct_bytes = sizeof out->energy}};
    rbe_status status = rbe_power_open(NULL, &power);
    status = status == RBE_OK ? rbe_power_start(power, 0) : status; /* sensors of watts give energy from then on */
    status = status == RBE_OK ? rbe_energy_read(power, &out->energy) : status;
    status = status == RBE_OK ? rbe_power_read(power, &out->sample) : status;
    for (uint32_t i = 0; status == RBE_OK && i < RBE_SHOWN_SOURCES; i++) {
        out->sources[i].struct_bytes = sizeof out->sources[i];
        if (rbe_energy_source(power, i, &out->sources[i]) != RBE_OK) {
            break;
        }
        out->n_sources++;
    }
    rbe_power_close(power);
    return status;
}

static const char *choose(uint32_t known, const char *unknown, const char *no, const char *yes)
{
    return known == RBE_YES ? yes : known == RBE_NO ? no : unknown;
}

static void write_sample(const rbe_power_sample *sample)
{
    if (isnan(sample->battery_level)) {
        fputs(sample->battery == RBE_NO ? "no battery" : "battery unknown", stdout);
    } else {
        printf("battery %.0f %%%s", 100 * sample->battery_level, choose(sample->charging, "", ", not on mains", ", on mains"));
        if (!isnan(sample->power_w)) {
            printf(", %.1f W out of it", sample->power_w);
        }
    }
    if (isnan(sample->temperature_c)) {
        fputs("; temperature unknown", stdout);
    } else {
        printf("; processor %.0f C (%s)", sample->temperature_c, sample->temperature_sensor);
    }
    printf(", %s", choose(sample->throttled, "throttling unknown", "not throttled", "throttled"));
    if (sample->throttled == RBE_YES) {
        printf(" (%s)", sample->throttled_by);
    }
    if (isnan(sample->mhz_least) || isnan(sample->mhz_most)) {
        puts("; clocks unknown");
        return;
    }
    printf("; clocks %.0f to %.0f", sample->mhz_least, sample->mhz_most);
    if (!isnan(sample->mhz_limit)) {
        printf(" of %.0f", sample->mhz_limit);
    }
    puts(" MHz");
}

void write_sensor_lines(const sensors *found)
{
    const rbe_energy *energy = &found->energy;
    fputs("sensors:   ", stdout);
    write_sample(&found->sample);
    if (!energy->readable) {
        printf("energy:    none: %s\n", energy->missing);
    } else if (energy->resolution_j > 0) {
        printf("energy:    %s (%s, in steps of %.3g J); not in it: %s\n", energy->source, energy->covers, energy->resolution_j,
               energy->missing);
    } else {
        printf("energy:    %s (%s, integrated from watts); not in it: %s\n", energy->source, energy->covers, energy->missing);
    }
    for (uint32_t i = 0; i < found->n_sources; i++) {
        const rbe_energy *other = &found->sources[i];
        if (!energy->readable || other->index != energy->index) {
            printf("           %s (%s)%s%s\n", other->source, other->covers, other->readable ? "" : ": ",
                   other->readable ? "" : other->missing);
        }
    }
}

static void json_member_text(const char *name, const char *text, int null_if_empty)
{
    printf(", \"%s\": ", name);
    if (null_if_empty && !text[0]) {
        fputs("null", stdout);
    } else {
        json_text(span_of(text));
    }
}

static void json_member_number(const char *name, double value)
{
    printf(", \"%s\": ", name);
    if (isnan(value)) {
        fputs("null", stdout);
    } else {
        json_number(value);
    }
}

static void json_energy(const rbe_energy *energy)
{
    printf("{\"readable\": %s, \"index\": %u", energy->readable ? "true" : "false", energy->index);
    json_member_number("joules", energy->readable ? energy->joules : NAN);
    json_member_number("seconds", energy->seconds);
    json_member_number("resolution_j", energy->resolution_j);
    json_member_text("source", energy->source, 0);
    json_member_text("covers", energy->covers, 0);
    json_member_text("missing", energy->missing, 0);
    putchar('}');
}

void write_json_sensors(const sensors *found)
{
    const rbe_power_sample *s = &found->sample;
    printf(", \"sensors\": {\"time_ns\": %llu", (unsigned long long)s->time_ns);
    json_member_number("battery_level", s->battery_level);
    json_member_number("current_a", s->current_a);
    json_member_number("voltage_v", s->voltage_v);
    json_member_number("power_w", s->power_w);
    json_member_number("temperature_c", s->temperature_c);
    json_member_number("mhz_least", s->mhz_least);
    json_member_number("mhz_most", s->mhz_most);
    json_member_number("mhz_limit", s->mhz_limit);
    printf(", \"battery\": %s, \"charging\": %s, \"throttled\": %s", choose(s->battery, "null", "false", "true"),
           choose(s->charging, "null", "false", "true"), choose(s->throttled, "null", "false", "true"));
    json_member_text("temperature_sensor", s->temperature_sensor, 1);
    json_member_text("throttled_by", s->throttled_by, 1);
    fputs("}, \"energy\": ", stdout);
    json_energy(&found->energy);
    fputs(", \"energy_sources\": [", stdout);
    for (uint32_t i = 0; i < found->n_sources; i++) {
        fputs(i ? ", " : "", stdout);
        json_energy(&found->sources[i]);
    }
    putchar(']');
}
