/* The units of the double array are those of darts-clone (S. Yata): of a unit, bits 0 to 7 and 31 are the label by which it is reached,
 * bit 8 says that a key ends there, bits 10 to 30, shifted by 8 if bit 9 is set, lead on by an exclusive or. A unit with bit 31 holds a
 * value. */
#include "text/tokenizer/charsmap.h"

#include "text/tokenizer/unicode.h"

enum { MAX_KEY_BYTES = 64 }; /* of NMT-NFKC: 18. A damaged array may lead in a circle */

rbe_status rbe__charsmap_open(const uint8_t *data, size_t bytes, rbe__charsmap *out)
{
    const uint32_t array_bytes = bytes >= 4 ? rbe__u32(data, 0) : 0;
    if (array_bytes == 0 || array_bytes % 4 != 0 || array_bytes > bytes - 4) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: a map of %zu characters' bytes with an array of %u", bytes, array_bytes);
    }
    *out = (rbe__charsmap){data + 4, array_bytes / 4, data + 4 + array_bytes, bytes - 4 - array_bytes};
    size_t begin = 0;
    for (size_t i = 0; i < out->text_bytes; i++) {
        if (out->text[i] != 0) {
            continue;
        }
        if (i - begin > RBE__MAX_REPLACEMENT_BYTES) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: the map of characters puts %zu bytes for one", i - begin);
        }
        begin = i + 1;
    }
    if (begin != out->text_bytes) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: the last text of the map of characters does not end");
    }
    return RBE_OK;
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

rbe__mapped rbe__charsmap_find(const rbe__charsmap *map, const uint8_t *text, size_t bytes, int shortest)
{
    rbe__mapped found = {0, NULL, 0};
    size_t at = offset_of(rbe__u32(map->units, 0));
    bytes = bytes < MAX_KEY_BYTES ? bytes : MAX_KEY_BYTES;
    for (size_t i = 0; i < bytes && text[i] != 0; i++) {
        at ^= text[i];
        if (at >= map->n_units) {
            break;
        }
        const uint32_t unit = rbe__u32(map->units, at);
        if ((unit & 0x800000FFu) != text[i]) {
            break;
        }
        at ^= offset_of(unit);
        if ((unit >> 8 & 1) == 0 || at >= map->n_units) {
            continue;
        }
        const size_t value = rbe__u32(map->units, at) & 0x7FFFFFFFu;
        if (value < map->text_bytes) {
            found = (rbe__mapped){i + 1, map->text + value, 0};
            if (shortest) {
                break;
            }
        }
    }
    if (found.bytes > 0) {
        /* The last byte of all texts is zero. */
        found.to_bytes = (size_t)((const uint8_t *)memchr(found.to, 0, map->text_bytes - (size_t)(found.to - map->text)) - found.to);
    }
    return found;
}

typedef struct range {
    uint32_t first, last;
} range;

static int is_among(const range *ranges, size_t n, uint32_t code_point)
{
    for (size_t i = 0; i < n; i++) {
        if (code_point >= ranges[i].first && code_point <= ranges[i].last) {
            return 1;
        }
    }
    return 0;
}

/* GraphemeBreakProperty.txt of Unicode 16.0: what extends and is no mark, and the marks that do not. */
int rbe__extends_cluster(uint32_t code_point)
{
    static const range more[] = {{0xE33, 0xE33},   {0xEB3, 0xEB3},     {0x200C, 0x200D},
                                 {0xFF9E, 0xFF9F}, {0x1F3FB, 0x1F3FF}, {0xE0020, 0xE007F}};
    static const range fewer[] = {{0x102B, 0x102C}, {0x1038, 0x1038}, {0x1062, 0x1064},  {0x1067, 0x106D}, {0x1083, 0x1083},
                                  {0x1087, 0x108C}, {0x108F, 0x108F}, {0x109A, 0x109C},  {0x1A61, 0x1A61}, {0x1A63, 0x1A64},
                                  {0xAA7B, 0xAA7B}, {0xAA7D, 0xAA7D}, {0x11720, 0x11721}};
    if (code_point < 0x300) {
        return 0;
    }
    if (rbe__class_of(code_point) == RBE__MARK) {
        return !is_among(fewer, sizeof fewer / sizeof *fewer, code_point);
    }
    return is_among(more, sizeof more / sizeof *more, code_point);
}

int rbe__precedes_cluster(uint32_t code_point)
{
    static const range ranges[] = {{0x600, 0x605},     {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},
                                   {0x8E2, 0x8E2},     {0xD4E, 0xD4E},     {0x110BD, 0x110BD}, {0x110CD, 0x110CD},
                                   {0x111C2, 0x111C3}, {0x113D1, 0x113D1}, {0x1193F, 0x1193F}, {0x11941, 0x11941},
                                   {0x11A3A, 0x11A3A}, {0x11A84, 0x11A89}, {0x11D46, 0x11D46}, {0x11F02, 0x11F02}};
    return code_point >= 0x600 && is_among(ranges, sizeof ranges / sizeof *ranges, code_point);
}

int rbe__ends_cluster(uint32_t code_point)
{
    const int private_use = (code_point >= 0xE000 && code_point <= 0xF8FF) || code_point >= 0xF0000;
    const int separator = code_point == 0x2028 || code_point == 0x2029;
    return separator ||
           (rbe__is_control(code_point) && !private_use && !rbe__extends_cluster(code_point) && !rbe__precedes_cluster(code_point));
}
