/* An upstream that costs next to nothing: epoll, one thread, HTTP/1.1 with keep-alive. It reads bodies to their last
 * byte (Content-Length and chunked) before it answers, and keeps count of them.
 *
 *   mock [PORT] [CPU seconds after which it ends itself, 0: never]      prints "PORT <port>", serves until SIGTERM
 *
 *   GET  /stats                      {"requests", "body_bytes", "connections", "open", "broken"}
 *   POST .../audio/speech            4,096 bytes of audio/mpeg
 *   POST anything else               {"text": ..., "usage": {"type": "duration", "seconds": as long as load.c's WAV of
 *                                    that size lasts}}
 *
 * Another behaviour is chosen by a word in the request target, or in the first 4 KB of the body (as part of the name
 * of a model, which passes through any gateway):
 *
 *   mock-megabyte   1 MB in 64 chunks of 16 KB, at once
 *   mock-paced      the same, one chunk every 10 ms
 *   mock-events     a transcript as server-sent events
 *   mock-slow       the body is read at 6.5 MB/s, the answer is the usual one
 */
#include "http.h"

#define PEEK 4096
#define SPEECH 4096
#define FORM 320                   /* bytes of a form around its file, about */
#define WAV_BYTES_PER_SECOND 32000 /* of what load.c sends */
#define PIECE 16384
#define PIECES 64
#define PACE_NS 10000000ull
#define SLOW_TICK_NS 5000000ull
#define SLOW_BYTES_PER_SECOND 6500000ull
#define SLOW_BUFFER 131072

/* An answer, made once. `first` bytes may leave at once, then `step` every `PACE_NS`. */
struct answer {
    char *data;
    size_t size, first, step;
};

struct link {
    int fd;
    int close_after, waiting_to_write, slow;
    int slot; /* its place among those that wait for time to pass, -1 if it does not */
    size_t head_size, peek_size;
    struct body body;
    int in_body;
    u64 taken;              /* bytes of the body read so far */
    u64 since, due;         /* when the body or the answer began, when there is something to do */
    const struct answer *answer;
    char *own;              /* an answer made for this request alone */
    struct answer own_answer;
    size_t sent, released;
    char head[HEAD_MAX + 1];
    char peek[PEEK];
};

static int poll_fd, timer_fd, listen_fd;
static struct link **timed;
static int timed_count, timed_room;
static char *reading;
static struct answer speech, megabyte, paced, events, not_found;
static u64 requests, body_bytes, connections, open_now, broken;
static volatile sig_atomic_t stop;

static void on_signal(int number) {
    (void)number;
    stop = 1;
}

/* --- answers ------------------------------------------------------------------------------------------------- */

static struct answer fixed(const char *status, const char *type, const char *body, size_t size) {
    char *data = grab(size + 512);
    int head = sprintf(data, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", status, type, size);
    memcpy(data + head, body, size);
    size_t whole = (size_t)head + size;
    return (struct answer){.data = data, .size = whole, .first = whole};
}

static struct answer in_chunks(const char *type, const char **pieces, const size_t *sizes, int count) {
    size_t room = 512;
    for (int i = 0; i < count; i++) room += sizes[i] + 32;
    struct answer one = {.data = grab(room)};
    one.size = (size_t)sprintf(one.data, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n", type);
    for (int i = 0; i < count; i++) {
        one.size += (size_t)sprintf(one.data + one.size, "%zx\r\n", sizes[i]);
        memcpy(one.data + one.size, pieces[i], sizes[i]);
        one.size += sizes[i];
        one.size += (size_t)sprintf(one.data + one.size, "\r\n");
        if (i == 0) one.first = one.size;
        if (i == 1) one.step = one.size - one.first;
    }
    one.size += (size_t)sprintf(one.data + one.size, "0\r\n\r\n");
    return one;
}

static void make_answers(void) {
    static char noise[PIECE];
    static const char gone[] = "{\"error\": {\"message\": \"no such route\"}}";
    static const char *told[] = {
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"The quick\"}\n\n",
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\" brown\"}\n\n",
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\" fox.\"}\n\n",
        "data: {\"type\":\"transcript.text.done\",\"text\":\"The quick brown fox.\",\"usage\":{\"type\":\"tokens\","
        "\"input_tokens\":14,\"input_token_details\":{\"text_tokens\":0,\"audio_tokens\":14},\"output_tokens\":6,"
        "\"total_tokens\":20}}\n\n",
    };
    const char *pieces[PIECES];
    size_t sizes[PIECES];
    for (int i = 0; i < PIECE; i++) noise[i] = (char)(i * 2654435761u >> 24);
    memcpy(noise, "\xff\xf3\x84\xc4", 4); /* an MPEG frame begins like this */
    speech = fixed("200 OK", "audio/mpeg", noise, SPEECH);
    not_found = fixed("404 Not Found", "application/json", gone, sizeof gone - 1);
    for (int i = 0; i < PIECES; i++) pieces[i] = noise, sizes[i] = PIECE;
    paced = in_chunks("audio/mpeg", pieces, sizes, PIECES);
    megabyte = paced;
    megabyte.first = megabyte.size;
    for (int i = 0; i < 4; i++) sizes[i] = strlen(told[i]);
    events = in_chunks("text/event-stream; charset=utf-8", told, sizes, 4);
    events.first = events.size;
}

static struct answer *made_for(struct link *l, const char *text, int size) {
    l->own_answer = fixed("200 OK", "application/json", text, (size_t)size);
    l->own = l->own_answer.data;
    return &l->own_answer;
}

/* A transcript. A gateway may compare what it is said to last with what the file says of itself. */
static struct answer *transcript_for(struct link *l) {
    char text[128];
    double seconds = l->taken > FORM ? (double)(l->taken - FORM) / WAV_BYTES_PER_SECOND : 1;
    return made_for(l, text, snprintf(text, sizeof text, "{\"text\": \"The quick brown fox.\", \"usage\": {\"type\": "
                                      "\"duration\", \"seconds\": %.3f}}", seconds));
}

static struct answer *stats_for(struct link *l) {
    char text[512];
    int size = snprintf(text, sizeof text,
                        "{\"requests\": %llu, \"body_bytes\": %llu, \"connections\": %llu, \"open\": %llu, \"broken\": %llu}\n",
                        (unsigned long long)requests, (unsigned long long)body_bytes, (unsigned long long)connections,
                        (unsigned long long)open_now, (unsigned long long)broken);
    return made_for(l, text, size);
}

/* The word behind "mock-", or NULL. */
static const char *wanted(const char *text, size_t size) {
    const char *found = memmem(text, size, "mock-", 5);
    return found && found + 5 + 4 <= text + size ? found + 5 : NULL;
}

static const char *wish(struct link *l) {
    const char *end = strchr(l->head, '\r');
    const char *word = wanted(l->head, end ? (size_t)(end - l->head) : 0);
    return word ? word : wanted(l->peek, l->peek_size);
}

static const struct answer *answer_for(struct link *l) {
    if (strncmp(l->head, "GET /stats", 10) == 0) return stats_for(l);
    const char *word = wish(l);
    if (word && strncmp(word, "mega", 4) == 0) return &megabyte;
    if (word && strncmp(word, "pace", 4) == 0) return &paced;
    if (word && strncmp(word, "even", 4) == 0) return &events;
    if (strncmp(l->head, "POST ", 5) != 0) return &not_found;
    const char *space = strchr(l->head + 5, ' ');
    size_t target = space ? (size_t)(space - l->head - 5) : 0;
    return memmem(l->head + 5, target, "/audio/speech", 13) ? &speech : transcript_for(l);
}

/* --- those that wait for time to pass ------------------------------------------------------------------------- */

static void wait_until(struct link *l, u64 due) {
    l->due = due;
    if (l->slot >= 0) return;
    if (timed_count == timed_room) {
        timed_room = timed_room ? timed_room * 2 : 64;
        timed = realloc(timed, (size_t)timed_room * sizeof *timed);
        if (!timed) die("out of memory");
    }
    l->slot = timed_count;
    timed[timed_count++] = l;
}

static void wait_no_more(struct link *l) {
    if (l->slot < 0) return;
    timed[l->slot] = timed[--timed_count];
    timed[l->slot]->slot = l->slot;
    l->slot = -1;
}

static void set_timer(void) {
    struct itimerspec when = {0};
    u64 next = 0;
    for (int i = 0; i < timed_count; i++)
        if (!next || timed[i]->due < next) next = timed[i]->due;
    when.it_value.tv_sec = (time_t)(next / 1000000000ull);
    when.it_value.tv_nsec = (long)(next % 1000000000ull);
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* --- one connection ------------------------------------------------------------------------------------------- */

static void drop(struct link *l, int faulty) {
    if (faulty) broken++;
    wait_no_more(l);
    close(l->fd);
    free(l->own);
    free(l);
    open_now--;
}

static void begin(struct link *l) {
    free(l->own);
    l->own = NULL;
    l->answer = NULL;
    l->in_body = l->slow = l->close_after = 0;
    l->head_size = l->peek_size = 0;
    l->sent = l->released = 0;
    l->taken = 0;
}

/* Write what may leave. Returns 0 when the connection is gone. */
static int write_answer(struct link *l) {
    for (;;) {
        while (l->sent < l->released) {
            ssize_t put = send(l->fd, l->answer->data + l->sent, l->released - l->sent, MSG_NOSIGNAL);
            if (put < 0 && errno == EINTR) continue;
            if (put < 0 && errno == EAGAIN) {
                if (!l->waiting_to_write) watch(poll_fd, EPOLL_CTL_MOD, l->fd, EPOLLIN | EPOLLOUT, l);
                l->waiting_to_write = 1;
                return 1;
            }
            if (put < 0) return drop(l, 1), 0;
            l->sent += (size_t)put;
        }
        if (l->waiting_to_write) watch(poll_fd, EPOLL_CTL_MOD, l->fd, EPOLLIN, l);
        l->waiting_to_write = 0;
        if (l->sent == l->answer->size) {
            wait_no_more(l);
            if (l->close_after) return drop(l, 0), 0;
            begin(l);
            return 1;
        }
        u64 now = now_ns();
        size_t steps = (size_t)((now - l->since) / PACE_NS);
        size_t may = l->answer->first + steps * l->answer->step;
        if (may >= l->answer->first + (PIECES - 1) * l->answer->step) may = l->answer->size;
        if (may <= l->released) {
            wait_until(l, l->since + (steps + 1) * PACE_NS);
            return 1;
        }
        l->released = may;
    }
}

static int finish(struct link *l) {
    int counts = strncmp(l->head, "GET ", 4) != 0;
    wait_no_more(l);
    if (l->slow) watch(poll_fd, EPOLL_CTL_MOD, l->fd, EPOLLIN, l);
    requests += (u64)counts;
    l->answer = answer_for(l);
    l->released = l->answer->first;
    l->since = now_ns();
    return write_answer(l);
}

/* A head is here: what kind of a body follows? */
static int start_body(struct link *l) {
    l->in_body = 1;
    l->since = now_ns();
    l->body = body_of(l->head, DONE);
    l->close_after = says(field(l->head, "connection"), "close") || strstr(l->head, " HTTP/1.0\r") != NULL;
    if (l->body.at != DONE && says(field(l->head, "expect"), "100-continue"))
        return send(l->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) == 25;
    return 1;
}

static void slow_down(struct link *l) {
    int size = SLOW_BUFFER;
    l->slow = 1;
    setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    watch(poll_fd, EPOLL_CTL_MOD, l->fd, 0, l);
    wait_until(l, now_ns() + SLOW_TICK_NS);
}

static void look_at(struct link *l, const char *data, size_t size) {
    size_t take = PEEK - l->peek_size < size ? PEEK - l->peek_size : size;
    if (!take) return;
    memcpy(l->peek + l->peek_size, data, take);
    l->peek_size += take;
    if (l->body.at == DONE || l->slow) return;
    const char *word = wish(l);
    if (word && strncmp(word, "slow", 4) == 0) slow_down(l);
}

/* Take in what was read. Returns 0 when the connection is gone. */
static int digest(struct link *l, const char *data, size_t size) {
    while (size) {
        if (l->answer) return drop(l, 1), 0; /* a second request before the first is answered: nobody does that here */
        if (!l->in_body) {
            size_t had = l->head_size, take = HEAD_MAX - had < size ? HEAD_MAX - had : size;
            memcpy(l->head + had, data, take);
            size_t from = had > 3 ? had - 3 : 0;
            char *end = memmem(l->head + from, had + take - from, "\r\n\r\n", 4);
            if (!end && had + take == HEAD_MAX) return drop(l, 1), 0;
            l->head_size = end ? (size_t)(end - l->head) + 4 : had + take;
            l->head[l->head_size] = 0;
            size_t used = l->head_size - had;
            data += used, size -= used;
            if (!end) return 1;
            if (!start_body(l)) return drop(l, 1), 0;
        }
        while (size && l->body.at != DONE && l->body.at != BROKEN) {
            size_t got, used = body_step(&l->body, data, size, &got);
            l->taken += got;
            body_bytes += got;
            if (got && l->peek_size < PEEK) look_at(l, data + used - got, got);
            data += used, size -= used;
        }
        if (l->body.at == BROKEN) return drop(l, 1), 0;
        if (l->body.at == DONE && !finish(l)) return 0;
    }
    return 1;
}

/* Returns 0 when the connection is gone or has nothing to read. */
static int read_some(struct link *l, size_t most) {
    ssize_t got = recv(l->fd, reading, most, 0);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) drop(l, 1);
        return 0;
    }
    if (!got) return drop(l, l->in_body || l->head_size), 0;
    return digest(l, reading, (size_t)got) && (size_t)got == most;
}

static void on_time(struct link *l, u64 now) {
    if (l->answer) {
        write_answer(l);
        return;
    }
    u64 may = (now - l->since) * SLOW_BYTES_PER_SECOND / 1000000000ull;
    wait_until(l, now + SLOW_TICK_NS);
    if (may > l->taken) read_some(l, may - l->taken < READ_MAX ? (size_t)(may - l->taken) : READ_MAX);
}

static void welcome(void) {
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct link *l = grab(sizeof *l);
        l->fd = fd;
        l->slot = -1;
        begin(l);
        no_delay(fd);
        watch(poll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, l);
        connections++, open_now++;
    }
}

static void pass_time(void) {
    u64 fired, now = now_ns();
    if (read(timer_fd, &fired, sizeof fired) < 0 && errno != EAGAIN) die("timer: %s", strerror(errno));
    /* From the end: whoever leaves its place gives it to one that was looked at. */
    for (int i = timed_count - 1; i >= 0; i--)
        if (i < timed_count && timed[i]->due <= now) on_time(timed[i], now);
}

static void serve(void) {
    struct epoll_event found[BATCH];
    while (!stop) {
        if (timed_count) set_timer();
        int count = epoll_wait(poll_fd, found, BATCH, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        int time_passed = 0;
        for (int i = 0; i < count; i++) {
            void *who = found[i].data.ptr;
            struct link *l = who;
            if (who == &listen_fd) welcome();
            else if (who == &timer_fd) time_passed = 1; /* last, since it may drop links that have events here */
            else if (l->slow && !l->answer) {
                if (found[i].events & (EPOLLHUP | EPOLLERR)) drop(l, 1);
            } else if (found[i].events & EPOLLOUT) write_answer(l);
            else read_some(l, READ_MAX);
        }
        if (time_passed) pass_time();
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in where = loopback(argc > 1 ? atoi(argv[1]) : 0);
    struct rlimit cpu = {0};
    socklen_t size = sizeof where;
    int on = 1;
    if (argc > 2 && (cpu.rlim_cur = cpu.rlim_max = (rlim_t)atol(argv[2]))) setrlimit(RLIMIT_CPU, &cpu);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    many_files();
    make_answers();
    reading = grab(READ_MAX);
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listen_fd, (void *)&where, sizeof where) < 0 || listen(listen_fd, 4096) < 0) die("bind: %s", strerror(errno));
    getsockname(listen_fd, (void *)&where, &size);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    watch(poll_fd, EPOLL_CTL_ADD, listen_fd, EPOLLIN, &listen_fd);
    watch(poll_fd, EPOLL_CTL_ADD, timer_fd, EPOLLIN, &timer_fd);
    printf("PORT %d\n", ntohs(where.sin_port));
    fflush(stdout);
    serve();
    return 0;
}
