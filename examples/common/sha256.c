/* SHA-256 (FIPS 180-4), and the hash of a model's weights. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stage.h"

struct sha256 {
    uint32_t state[8];
    uint64_t size;
    unsigned char block[64];
};

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t x, int bits)
{
    return x >> bits | x << (32 - bits);
}

static void add_block(struct sha256 *hash, const unsigned char *bytes)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 |
               (uint32_t)bytes[4 * i + 2] << 8 | bytes[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    memcpy(s, hash->state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        uint32_t first = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + choice + constants[i] +
                         w[i];
        uint32_t second = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + majority;
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += first;
        s[0] = first + second;
    }
    for (int i = 0; i < 8; i++)
        hash->state[i] += s[i];
}

static void add(struct sha256 *hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    size_t used = hash->size % 64;
    hash->size += size;
    while (size > 0) {
        if (!used && size >= 64) {
            add_block(hash, bytes);
            bytes += 64;
            size -= 64;
            continue;
        }
        size_t part = size < 64 - used ? size : 64 - used;
        memcpy(hash->block + used, bytes, part);
        bytes += part;
        size -= part;
        used = (used + part) % 64;
        if (!used)
            add_block(hash, hash->block);
    }
}

static void finish(struct sha256 *hash)
{
    const uint64_t bits = 8 * hash->size;
    const unsigned char one = 0x80, zeros[64] = { 0 };
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    add(hash, &one, 1);
    add(hash, zeros, (120 - hash->size % 64) % 64);
    add(hash, length, sizeof length);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t element_size(int dtype)
{
    return dtype == DIFFC_F64 || dtype == DIFFC_I64   ? 8
           : dtype == DIFFC_F32 || dtype == DIFFC_I32 ? 4
           : dtype == DIFFC_U8                        ? 1
                                                      : 2;
}

static int add_tensors(struct sha256 *hash, const diffc_archive *archive, const char **names)
{
    int count = diffc_archive_count(archive), status = 0;
    for (int i = 0; i < count; i++)
        names[i] = diffc_archive_name(archive, i);
    qsort(names, (size_t)count, sizeof *names, by_name);
    for (int i = 0; i < count && !status && !ex_stopped(); i++) {
        diffc_tensor *tensor = NULL;
        status = diffc_archive_get(archive, names[i], &tensor);
        if (!status) {
            add(hash, names[i], strlen(names[i]) + 1);
            add(hash, diffc_tensor_data(tensor),
                (size_t)diffc_tensor_count(tensor) * element_size(diffc_tensor_dtype(tensor)));
        }
        diffc_release(&tensor);
    }
    return status;
}

int ex_model_hash(diffc_context *context, const char *folder, const char *variant, char text[17])
{
    struct sha256 hash = { .state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                                      0x1f83d9ab, 0x5be0cd19 } };
    char path[EX_PATH];
    diffc_archive *archive = NULL;
    diffc_archive_options options = DIFFC_ARCHIVE_OPTIONS;
    options.map = 1;
    options.variant = variant;
    ex_path(path, folder, "unet");
    int status = diffc_archive_open(context, ex_exists(path) ? path : folder, &options, &archive);
    if (status)
        return ex_failed(folder, status);
    const char **names = calloc((size_t)diffc_archive_count(archive) + 1, sizeof *names);
    status = names ? add_tensors(&hash, archive, names) : DIFFC_ERR_NOMEM;
    free(names);
    diffc_release(&archive);
    if (ex_stopped())
        return ex_stopped();
    if (status)
        return ex_failed(folder, status);
    finish(&hash);
    snprintf(text, 17, "%08x%08x", hash.state[0], hash.state[1]);
    return 0;
}
