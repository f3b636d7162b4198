/* A closed loop of requests to 127.0.0.1: epoll, one thread, HTTP/1.1 with keep-alive, as many connections as requests
 * in flight. Each connection sends the same request again as soon as the answer to the last one was read to its end.
 *
 *   load --port N [--path /v1/audio/speech]
 *        [--connections 64] [--seconds 4] [--requests 0] [--drain 60]
 *        [--header "Name: value"]...  [--keys FILE]             FILE: one bearer key a line, taken in turn
 *        one body:  --speech MODEL                              about 200 B of JSON
 *                   --form BYTES --model M [--file-first] [--field name=value]...     a WAV of so many bytes
 *                   --body FILE
 *        [--get]                                                no body, GET
 *
 * Nothing new begins after `seconds`, or once `requests` have begun (0: no bound); what is under way is given `drain`
 * seconds to end, so that the work of all counted requests is done when it prints one line of JSON:
 *
 *   requests      answered with 2xx and read to the end          in_time     those of them within `seconds`
 *   per_second    in_time / seconds                              bytes_out, bytes_in    of bodies
 *   errors        everything else; `first_error` is the first    abandoned   under way when `drain` was over
 *   first_ms      from the first byte sent to the first of the answer's body: p50, p90, p99, max
 *   whole_ms      ... to its last
 */
#include "form.h"
#include "histogram.h"
#include "http.h"

#define MOST_HEADERS 32
#define MOST_KEYS 1000000

struct link {
    int fd, connecting, writing, reused;
    const struct iovec *head;
    size_t head_sent, body_sent;
    u64 began, first, got;
    int status, close_after, in_body;
    struct body body;
    size_t head_size;
    char answer[HEAD_MAX + 1];
    char start[301]; /* what an error says */
    size_t start_size;
    int idle; /* nothing under way, nothing more to do */
};

static int port, connections = 64, file_first, get;
static double seconds = 4, drain = 60;
static u64 bound;
static const char *path = "/v1/audio/speech", *headers[MOST_HEADERS], *fields[MOST_HEADERS], *keys_file, *model = "whisper-1";
static int header_count, field_count;

static struct iovec body, *heads;
static size_t head_count, next_head;
static const char *content_type;

static int poll_fd;
static char *reading;
static struct sockaddr_in target;
static u64 begin_ns, end_ns, last_ns;
static u64 begun, requests, in_time, errors, bytes_out, bytes_in, reconnects, running;
static struct histogram first_byte, whole;
static char first_error[512];

/* --- what was seen -------------------------------------------------------------------------------------------- */

static void wrong(const char *what, const char *said) {
    errors++;
    if (*first_error) return;
    size_t size = (size_t)snprintf(first_error, sizeof first_error, "%s: %s", what, said);
    if (size >= sizeof first_error) size = sizeof first_error - 1;
    for (size_t i = 0; i < size; i++)
        if (first_error[i] == '"' || first_error[i] == '\\' || (unsigned char)first_error[i] < 32 || first_error[i] < 0)
            first_error[i] = '\'';
}

/* --- the request ---------------------------------------------------------------------------------------------- */

static void make_form(size_t size) {
    char *at = body.iov_base = grab(size + 4096 + 1024 * (size_t)field_count);
    if (size < 44) die("--form: a WAV has at least 44 bytes");
    for (int part = 0; part < 2; part++) {
        if ((part == 0) == file_first) {
            at += sprintf(at, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"speech.wav\"\r\n"
                              "Content-Type: audio/wav\r\n\r\n", BOUNDARY);
            at += put_wav(at, size);
            at += sprintf(at, "\r\n");
        } else {
            at += put_text(at, "model", model, strlen(model));
            for (int i = 0; i < field_count; i++) {
                const char *equals = strchr(fields[i], '=');
                char name[128];
                if (!equals || equals - fields[i] > 127 || strlen(equals) > 512) die("--field: name=value");
                sprintf(name, "%.*s", (int)(equals - fields[i]), fields[i]);
                at += put_text(at, name, equals + 1, strlen(equals + 1));
            }
        }
    }
    at += sprintf(at, "--%s--\r\n", BOUNDARY);
    body.iov_len = (size_t)(at - (char *)body.iov_base);
    content_type = "multipart/form-data; boundary=" BOUNDARY;
}

static void make_speech(const char *name) {
    body.iov_base = grab(1024);
    body.iov_len = (size_t)snprintf(
        body.iov_base, 1024,
        "{\"model\": \"%s\", \"voice\": \"alloy\", \"response_format\": \"mp3\", \"input\": \"The quick brown fox jumps over "
        "the lazy dog, and the dog, being lazy, sleeps on and dreams of faster foxes.\"}", name);
    content_type = "application/json";
}

static void read_body(const char *name) {
    FILE *in = fopen(name, "rb");
    if (!in || fseek(in, 0, SEEK_END)) die("%s: %s", name, strerror(errno));
    body.iov_len = (size_t)ftell(in);
    body.iov_base = grab(body.iov_len + 1);
    rewind(in);
    if (fread(body.iov_base, 1, body.iov_len, in) != body.iov_len) die("%s: cannot read it", name);
    fclose(in);
}

static void add_head(const char *key) {
    char *head = grab(4096);
    size_t size = (size_t)snprintf(head, 2048, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n", get ? "GET" : "POST",
                                   path, port);
    if (!get) size += (size_t)sprintf(head + size, "Content-Length: %zu\r\n", body.iov_len);
    if (!get && content_type) size += (size_t)sprintf(head + size, "Content-Type: %s\r\n", content_type);
    for (int i = 0; i < header_count; i++) {
        if (size + strlen(headers[i]) > 3500) die("the headers are too long");
        size += (size_t)sprintf(head + size, "%s\r\n", headers[i]);
    }
    if (key) size += (size_t)snprintf(head + size, 400, "Authorization: Bearer %.300s\r\n", key);
    size += (size_t)sprintf(head + size, "\r\n");
    heads[head_count].iov_base = realloc(head, size);
    heads[head_count++].iov_len = size;
}

static void make_heads(void) {
    heads = grab(sizeof *heads * (keys_file ? MOST_KEYS : 1));
    if (keys_file) {
        FILE *in = fopen(keys_file, "r");
        char line[512];
        if (!in) die("%s: %s", keys_file, strerror(errno));
        while (head_count < MOST_KEYS && fgets(line, sizeof line, in)) {
            line[strcspn(line, "\r\n")] = 0;
            if (*line) add_head(line);
        }
        fclose(in);
        if (!head_count) die("%s: no key in it", keys_file);
    } else {
        add_head(NULL);
    }
}

/* --- one connection ------------------------------------------------------------------------------------------- */

static void push(struct link *l);

static void dial(struct link *l) {
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) die("socket: %s", strerror(errno));
    no_delay(l->fd);
    l->reused = 0;
    l->connecting = connect(l->fd, (void *)&target, sizeof target) < 0;
    if (l->connecting && errno != EINPROGRESS) die("connect: %s", strerror(errno));
    l->writing = l->connecting;
    watch(poll_fd, EPOLL_CTL_ADD, l->fd, l->writing ? EPOLLIN | EPOLLOUT : EPOLLIN, l);
}

static void hang_up(struct link *l) {
    close(l->fd);
    l->fd = -1;
}

static void rewind_request(struct link *l) {
    l->head_sent = l->body_sent = l->head_size = l->start_size = 0;
    l->first = l->got = 0;
    l->status = l->in_body = l->close_after = 0;
}

/* Begin the next request, if there is to be one. */
static void next(struct link *l) {
    u64 now = now_ns();
    if (now >= end_ns || (bound && begun >= bound)) {
        if (!l->idle) running--;
        l->idle = 1;
        if (l->fd >= 0) hang_up(l);
        return;
    }
    begun++;
    rewind_request(l);
    l->head = &heads[next_head];
    next_head = (next_head + 1) % head_count;
    l->began = now;
    if (l->fd < 0) dial(l);
    if (!l->connecting) push(l);
}

static void fail(struct link *l, const char *what, const char *said) {
    wrong(what, said);
    hang_up(l);
    next(l);
}

/* It broke. A kept connection that the other side had just closed is not an error: the request is sent anew. */
static void broke(struct link *l, const char *what) {
    if (l->reused && !l->head_size) {
        hang_up(l);
        reconnects++;
        rewind_request(l);
        dial(l);
        if (!l->connecting) push(l);
        return;
    }
    fail(l, what, "the connection ended before the answer did");
}

/* Send what is left of the request. */
static void push(struct link *l) {
    while (l->head_sent < l->head->iov_len || l->body_sent < body.iov_len) {
        struct iovec out[2] = {
            {(char *)l->head->iov_base + l->head_sent, l->head->iov_len - l->head_sent},
            {(char *)body.iov_base + l->body_sent, body.iov_len - l->body_sent},
        };
        struct msghdr message = {.msg_iov = out, .msg_iovlen = 2};
        ssize_t put = sendmsg(l->fd, &message, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno == EAGAIN) {
            if (!l->writing) watch(poll_fd, EPOLL_CTL_MOD, l->fd, EPOLLIN | EPOLLOUT, l);
            l->writing = 1;
            return;
        }
        if (put < 0) return; /* an answer may be there to be read; if not, reading tells */
        size_t of_head = (size_t)put < out[0].iov_len ? (size_t)put : out[0].iov_len;
        l->head_sent += of_head;
        l->body_sent += (size_t)put - of_head;
        bytes_out += (u64)put - of_head;
    }
    if (l->writing) watch(poll_fd, EPOLL_CTL_MOD, l->fd, EPOLLIN, l);
    l->writing = 0;
}

static void finish(struct link *l) {
    u64 now = now_ns();
    int sent = l->body_sent == body.iov_len && l->head_sent == l->head->iov_len;
    char status[64];
    if (l->status < 200 || l->status > 299) {
        l->start[l->start_size] = 0;
        sprintf(status, "status %d", l->status);
        wrong(status, l->start);
    } else if (!sent) {
        wrong("early", "the answer came before the request had been read");
    } else {
        note(&first_byte, (l->first ? l->first : now) - l->began);
        note(&whole, now - l->began);
        requests++;
        if (now <= end_ns) in_time++;
        last_ns = now;
    }
    if (l->close_after || !sent) hang_up(l);
    else l->reused = 1;
    next(l);
}

static int digest_head(struct link *l, const char *data, size_t size, size_t *used) {
    size_t had = l->head_size, take = HEAD_MAX - had < size ? HEAD_MAX - had : size;
    memcpy(l->answer + had, data, take);
    size_t from = had > 3 ? had - 3 : 0;
    char *end = memmem(l->answer + from, had + take - from, "\r\n\r\n", 4);
    l->head_size = end ? (size_t)(end - l->answer) + 4 : had + take;
    l->answer[l->head_size] = 0;
    *used = l->head_size - had;
    if (!end) return had + take < HEAD_MAX;
    if (sscanf(l->answer, "HTTP/1.%*d %d", &l->status) != 1) return 0;
    if (l->status >= 100 && l->status < 200) {
        l->head_size = 0;
        return 1;
    }
    l->close_after = says(field(l->answer, "connection"), "close") || strncmp(l->answer, "HTTP/1.0", 8) == 0;
    l->body = body_of(l->answer, l->status == 204 || l->status == 304 ? DONE : TO_THE_END);
    if (l->body.at == TO_THE_END) l->close_after = 1;
    l->in_body = 1;
    return 1;
}

static void digest(struct link *l, const char *data, size_t size) {
    while (size) {
        size_t used, got;
        if (!l->in_body) {
            if (!digest_head(l, data, size, &used)) return fail(l, "head", "not an answer");
            data += used, size -= used;
        }
        while (size && l->in_body && l->body.at != DONE && l->body.at != BROKEN) {
            used = body_step(&l->body, data, size, &got);
            if (got && !l->first) l->first = now_ns();
            if (got && l->status > 299 && l->start_size < 300) {
                size_t take = 300 - l->start_size < got ? 300 - l->start_size : got;
                memcpy(l->start + l->start_size, data + used - got, take);
                l->start_size += take;
            }
            l->got += got, bytes_in += got;
            data += used, size -= used;
        }
        if (l->in_body && l->body.at == BROKEN) return fail(l, "body", "broken chunks");
        if (l->in_body && l->body.at == DONE) {
            if (size) return fail(l, "body", "bytes behind the answer");
            finish(l);
            return;
        }
    }
}

static void on_event(struct link *l, uint32_t what) {
    if (l->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            wrong("connect", strerror(error));
            hang_up(l);
            usleep(1000); /* nobody is there: do not spin */
            return next(l);
        }
        l->connecting = 0;
    }
    if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t got = recv(l->fd, reading, READ_MAX, 0);
        if (got > 0) return digest(l, reading, (size_t)got);
        if (got == 0 && l->in_body && l->body.at == TO_THE_END) return finish(l);
        if (got == 0) return broke(l, "closed");
        if (errno != EAGAIN && errno != EINTR) return broke(l, strerror(errno));
    }
    if (what & EPOLLOUT) push(l);
}

/* --- all of them ---------------------------------------------------------------------------------------------- */

static void run(void) {
    struct epoll_event found[BATCH];
    struct link *all = grab(sizeof *all * (size_t)connections);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    begin_ns = last_ns = now_ns();
    end_ns = begin_ns + (u64)(seconds * 1e9);
    u64 give_up = end_ns + (u64)(drain * 1e9);
    running = (u64)connections;
    for (int i = 0; i < connections; i++) {
        all[i].fd = -1;
        next(&all[i]);
    }
    while (running && now_ns() < give_up) {
        int count = epoll_wait(poll_fd, found, BATCH, 100);
        if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++) on_event(found[i].data.ptr, found[i].events);
    }
}

static void print(void) {
    double taken = (double)(last_ns - begin_ns) / 1e9, span = taken < seconds ? taken : seconds;
    printf("{\"requests\": %llu, \"in_time\": %llu, \"errors\": %llu, \"abandoned\": %llu, \"reconnects\": %llu",
           (unsigned long long)requests, (unsigned long long)in_time, (unsigned long long)errors,
           (unsigned long long)running, (unsigned long long)reconnects);
    printf(", \"seconds\": %.4f, \"per_second\": %.2f, \"bytes_out\": %llu, \"bytes_in\": %llu, \"body\": %zu", taken,
           span > 0 ? (double)in_time / span : 0, (unsigned long long)bytes_out, (unsigned long long)bytes_in, body.iov_len);
    print_times("first_ms", &first_byte);
    print_times("whole_ms", &whole);
    printf(", \"first_error\": \"%s\"}\n", first_error);
}

static void understand(int argc, char **argv) {
    size_t form = 0;
    const char *body_file = NULL, *speech = NULL;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(name, "--file-first")) { file_first = 1; continue; }
        if (!strcmp(name, "--get")) { get = 1; continue; }
        if (!value) die("%s: what is it? load.c begins with a list", name);
        i++;
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--path")) path = value;
        else if (!strcmp(name, "--connections")) connections = atoi(value);
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else if (!strcmp(name, "--requests")) bound = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--drain")) drain = atof(value);
        else if (!strcmp(name, "--keys")) keys_file = value;
        else if (!strcmp(name, "--model")) model = value;
        else if (!strcmp(name, "--speech")) speech = value;
        else if (!strcmp(name, "--form")) form = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--body")) body_file = value;
        else if (!strcmp(name, "--header") && header_count < MOST_HEADERS) headers[header_count++] = value;
        else if (!strcmp(name, "--field") && field_count < MOST_HEADERS) fields[field_count++] = value;
        else die("%s: what is it? load.c begins with a list", name);
    }
    if (!port || connections < 1 || connections > 100000 || seconds <= 0 || seconds > 3600 || drain < 0 || drain > 600)
        die("--port N is needed; 1 to 100,000 --connections; up to 3,600 --seconds and 600 --drain");
    if (speech) make_speech(speech);
    else if (form) make_form(form);
    else if (body_file) read_body(body_file);
    else if (!get) die("--speech, --form, --body or --get?");
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    many_files();
    understand(argc, argv);
    target = loopback(port);
    reading = grab(READ_MAX);
    make_heads();
    run();
    print();
    return 0;
}
