/* What mock.c and load.c share: a clock, sockets on 127.0.0.1, header fields, and the decoder of bodies. */
#ifndef HTTP_H
#define HTTP_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 16384   /* bytes of a request's or an answer's head */
#define READ_MAX 262144  /* bytes taken from a socket at once */
#define BATCH 512        /* events taken from epoll at once */

typedef uint64_t u64;

static inline u64 now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

static inline void die(const char *form, ...) {
    va_list rest;
    va_start(rest, form);
    vfprintf(stderr, form, rest);
    va_end(rest);
    fputc('\n', stderr);
    exit(2);
}

static inline void *grab(size_t size) {
    void *found = calloc(1, size);
    if (!found) die("out of memory");
    return found;
}

/* As many open files as we may have. */
static inline void many_files(void) {
    struct rlimit most;
    if (getrlimit(RLIMIT_NOFILE, &most) == 0) {
        most.rlim_cur = most.rlim_max;
        setrlimit(RLIMIT_NOFILE, &most);
    }
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return where;
}

static inline void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline void watch(int poll, int how, int fd, uint32_t events, void *data) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(poll, how, fd, &event) < 0) die("epoll_ctl: %s", strerror(errno));
}

/* The value of a header field in a head that ends in a NUL, without leading blanks; NULL if it is not there. */
static inline const char *field(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line + 1, '\n')) {
        if (strncasecmp(line + 1, name, length) == 0 && line[1 + length] == ':') {
            const char *value = line + length + 2;
            while (*value == ' ' || *value == '\t') value++;
            return value;
        }
    }
    return NULL;
}

static inline int says(const char *value, const char *word) {
    return value && strncasecmp(value, word, strlen(word)) == 0;
}

/* Where a body is: how many bytes are left of it or of its chunk. */
enum at { DONE, LENGTH, TO_THE_END, SIZE, SIZE_REST, DATA, DATA_END, TRAILER, BROKEN };

struct body {
    enum at at;
    u64 left;
    int seen; /* characters of the line so far */
};

static inline struct body body_of(const char *head, enum at otherwise) {
    const char *length = field(head, "content-length");
    if (says(field(head, "transfer-encoding"), "chunked")) return (struct body){.at = SIZE};
    if (length) {
        u64 left = strtoull(length, NULL, 10);
        return (struct body){.at = left ? LENGTH : DONE, .left = left};
    }
    return (struct body){.at = otherwise};
}

static inline int hex_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline void body_char(struct body *b, char c) {
    int digit;
    switch (b->at) {
    case SIZE:
    case SIZE_REST:
        if (c == '\n') {
            if (!b->seen) b->at = BROKEN;
            else b->at = b->left ? DATA : TRAILER;
            b->seen = 0;
        } else if (b->at == SIZE && (digit = hex_of(c)) >= 0 && b->seen < 15) {
            b->left = b->left * 16 + (u64)digit;
            b->seen++;
        } else {
            b->at = c == '\r' || c == ';' || c == ' ' || b->at == SIZE_REST ? SIZE_REST : BROKEN;
        }
        break;
    case DATA_END:
        if (c == '\n') b->at = SIZE, b->seen = 0, b->left = 0;
        else if (c != '\r') b->at = BROKEN;
        break;
    default: /* TRAILER */
        if (c == '\n' && !b->seen) b->at = DONE;
        else if (c == '\n') b->seen = 0;
        else if (c != '\r') b->seen++;
    }
}

/* Take one step into the body: returns how many bytes were used, and in `got` how many of these, which are the last,
 * belong to the content. Call it while there are bytes and `at` is neither DONE nor BROKEN. */
static inline size_t body_step(struct body *b, const char *data, size_t size, size_t *got) {
    size_t used = 0;
    *got = 0;
    while (used < size && b->at != DONE && b->at != BROKEN) {
        if (b->at == LENGTH || b->at == DATA || b->at == TO_THE_END) {
            size_t take = size - used;
            if (b->at != TO_THE_END) {
                if (take > b->left) take = (size_t)b->left;
                b->left -= take;
                if (!b->left) b->at = b->at == LENGTH ? DONE : DATA_END;
            }
            *got = take;
            return used + take;
        }
        body_char(b, data[used++]);
    }
    return used;
}

#endif
