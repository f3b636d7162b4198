/* Parts of a form, and a file that begins as a WAV does. Part of load.c. */
#ifndef FORM_H
#define FORM_H

#include "http.h"

#define BOUNDARY "----boundary-of-the-load-5f1c"

static inline size_t put_text(char *to, const char *name, const char *value, size_t size) {
    return (size_t)sprintf(to, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%.*s\r\n",
                           BOUNDARY, name, (int)size, value);
}

/* A file that begins like a mono WAV of 16 kHz and is as long as its header says. */
static inline size_t put_wav(char *to, size_t size) {
    static const char form[] = "RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0\x80>\0\0\0}\0\0\x02\0\x10\0data....";
    uint32_t riff = (uint32_t)(size - 8), data = (uint32_t)(size - 44), dice = 1;
    memcpy(to, form, 44);
    memcpy(to + 4, &riff, 4);
    memcpy(to + 40, &data, 4);
    for (size_t i = 44; i < size; i++) {
        dice = dice * 1664525u + 1013904223u;
        to[i] = (char)(dice >> 24);
    }
    return size;
}

#endif
