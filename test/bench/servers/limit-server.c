/*
 * The least work that an NBD server must do: one thread per connection, one
 * receive for all requests that are there, one send for all replies, sendfile
 * for long reads. Fixed newstyle, simple replies; no metadata, no TLS.
 *
 * usage: limit-server FILE SOCKET | limit-server FILE PORT
 * A SOCKET begins with a slash; a PORT is one of 127.0.0.1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NBD_MAGIC		0x4e42444d41474943ULL
#define NBD_OPTS_MAGIC		0x49484156454f5054ULL
#define NBD_REP_MAGIC		0x0003e889045565a9ULL
#define NBD_REQUEST_MAGIC	0x25609513U
#define NBD_SIMPLE_REPLY_MAGIC	0x67446698U

#define NBD_FLAG_FIXED_NEWSTYLE	(1 << 0)
#define NBD_FLAG_NO_ZEROES	(1 << 1)
/* HAS_FLAGS, SEND_FLUSH, SEND_FUA, CAN_MULTI_CONN */
#define NBD_EXPORT_FLAGS	(1 << 0 | 1 << 2 | 1 << 3 | 1 << 8)

enum { NBD_OPT_EXPORT_NAME = 1, NBD_OPT_ABORT = 2, NBD_OPT_GO = 7 };
enum { NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_DISC, NBD_CMD_FLUSH };
#define NBD_CMD_FLAG_FUA	(1 << 0)
#define NBD_REP_ACK		1U
#define NBD_REP_INFO		3U
#define NBD_REP_ERR_UNSUP	((1U << 31) + 1)
#define NBD_EIO			5
#define NBD_EINVAL		22

#define MAX_OPTION	4096
#define MAX_PAYLOAD	(32U << 20)
/* Reads from this size on go by sendfile. */
#define SENDFILE_MIN	(32U << 10)
/* How much is received at once, when more than that is not known to come. */
#define RECEIVE_SIZE	(64U << 10)
#define IN_SIZE		(MAX_PAYLOAD + 2 * RECEIVE_SIZE)
#define OUT_SIZE	(256U << 10)

struct nbd_request {
	uint32_t magic;
	uint16_t flags;
	uint16_t type;
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
} __attribute__((packed));

struct nbd_simple_reply {
	uint32_t magic;
	uint32_t error;
	uint64_t cookie;
} __attribute__((packed));

struct nbd_option {
	uint64_t magic;
	uint32_t option;
	uint32_t length;
} __attribute__((packed));

struct nbd_option_reply {
	uint64_t magic;
	uint32_t option;
	uint32_t type;
	uint32_t length;
} __attribute__((packed));

struct connection {
	int sock;
	/* Received: [at, have) is not served yet. */
	char *in;
	size_t at, have;
	/* Replies that are not sent yet. */
	char *out;
	size_t used;
};

static int file;
static uint64_t size;

static bool send_all(int sock, const void *data, size_t len, int flags)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(sock, p, len, flags | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static bool recv_all(int sock, void *data, size_t len)
{
	return len == 0 || recv(sock, data, len, MSG_WAITALL) == (ssize_t)len;
}

static bool flush_out(struct connection *c, int flags)
{
	size_t len = c->used;

	c->used = 0;
	return len == 0 || send_all(c->sock, c->out, len, flags);
}

/* Waits until @len bytes are there; what is answered is sent before. */
static bool need(struct connection *c, size_t len)
{
	if (c->have - c->at >= len)
		return true;
	if (!flush_out(c, 0))
		return false;
	if (c->at + len + RECEIVE_SIZE > IN_SIZE || c->at == c->have) {
		memmove(c->in, c->in + c->at, c->have - c->at);
		c->have -= c->at;
		c->at = 0;
	}
	while (c->have - c->at < len) {
		size_t missing = len - (c->have - c->at);
		size_t want = missing > RECEIVE_SIZE ? missing : RECEIVE_SIZE;
		ssize_t n = recv(c->sock, c->in + c->have, want, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		c->have += n;
	}
	return true;
}

static bool reply(struct connection *c, uint64_t cookie, uint32_t error)
{
	struct nbd_simple_reply r = {
		.magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
		.error = htobe32(error),
		.cookie = cookie,
	};

	if (c->used + sizeof(r) > OUT_SIZE && !flush_out(c, 0))
		return false;
	memcpy(c->out + c->used, &r, sizeof(r));
	c->used += sizeof(r);
	return true;
}

static bool serve_long_read(struct connection *c, uint64_t cookie, off_t offset, size_t len)
{
	if (!reply(c, cookie, 0) || !flush_out(c, MSG_MORE))
		return false;
	while (len > 0) {
		ssize_t n = sendfile(c->sock, file, &offset, len);

		/* Too late to tell: the reply has begun. */
		if (n <= 0)
			return false;
		len -= n;
	}
	return true;
}

static bool serve_short_read(struct connection *c, uint64_t cookie, off_t offset, size_t len)
{
	size_t header = sizeof(struct nbd_simple_reply);

	if (c->used + header + len > OUT_SIZE && !flush_out(c, 0))
		return false;
	if (pread(file, c->out + c->used + header, len, offset) != (ssize_t)len)
		return reply(c, cookie, NBD_EIO);
	if (!reply(c, cookie, 0))
		return false;
	c->used += len;
	return true;
}

static bool serve_write(struct connection *c, uint64_t cookie, off_t offset, size_t len, bool fua)
{
	bool ok;

	if (!need(c, len))
		return false;
	ok = pwrite(file, c->in + c->at, len, offset) == (ssize_t)len;
	c->at += len;
	if (ok && fua)
		ok = fdatasync(file) == 0;
	return reply(c, cookie, ok ? 0 : NBD_EIO);
}

/* Returns false when the connection is over. */
static bool serve_request(struct connection *c)
{
	struct nbd_request r;
	uint64_t offset;
	uint32_t len;

	if (!need(c, sizeof(r)))
		return false;
	memcpy(&r, c->in + c->at, sizeof(r));
	c->at += sizeof(r);
	if (be32toh(r.magic) != NBD_REQUEST_MAGIC)
		return false;
	offset = be64toh(r.offset);
	len = be32toh(r.length);
	switch (be16toh(r.type)) {
	case NBD_CMD_READ:
		if (len == 0 || len > MAX_PAYLOAD || offset > size || len > size - offset)
			return reply(c, r.cookie, NBD_EINVAL);
		if (len >= SENDFILE_MIN)
			return serve_long_read(c, r.cookie, offset, len);
		return serve_short_read(c, r.cookie, offset, len);
	case NBD_CMD_WRITE:
		if (len > MAX_PAYLOAD)
			return false;
		if (offset > size || len > size - offset) {
			if (!need(c, len))
				return false;
			c->at += len;
			return reply(c, r.cookie, NBD_EINVAL);
		}
		return serve_write(c, r.cookie, offset, len, be16toh(r.flags) & NBD_CMD_FLAG_FUA);
	case NBD_CMD_FLUSH:
		return reply(c, r.cookie, fdatasync(file) == 0 ? 0 : NBD_EIO);
	case NBD_CMD_DISC:
		return false;
	default:
		return reply(c, r.cookie, NBD_EINVAL);
	}
}

static bool reply_option(int sock, uint32_t option, uint32_t type, const void *data, uint32_t len)
{
	struct nbd_option_reply r = {
		.magic = htobe64(NBD_REP_MAGIC),
		.option = htobe32(option),
		.type = htobe32(type),
		.length = htobe32(len),
	};

	return send_all(sock, &r, sizeof(r), len > 0 ? MSG_MORE : 0) && send_all(sock, data, len, 0);
}

static bool negotiate(int sock)
{
	struct {
		uint64_t magic, opts_magic;
		uint16_t flags;
	} __attribute__((packed)) hello = {
		htobe64(NBD_MAGIC), htobe64(NBD_OPTS_MAGIC),
		htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
	};
	struct {
		uint16_t info;
		uint64_t size;
		uint16_t flags;
		char zeroes[124];
	} __attribute__((packed)) export = { 0, htobe64(size), htobe16(NBD_EXPORT_FLAGS), "" };
	uint32_t client_flags;

	if (!send_all(sock, &hello, sizeof(hello), 0) || !recv_all(sock, &client_flags, 4))
		return false;
	for (;;) {
		char data[MAX_OPTION];
		struct nbd_option o;
		uint32_t option, len;

		if (!recv_all(sock, &o, sizeof(o)) || be64toh(o.magic) != NBD_OPTS_MAGIC)
			return false;
		option = be32toh(o.option);
		len = be32toh(o.length);
		if (len > sizeof(data) || !recv_all(sock, data, len))
			return false;
		switch (option) {
		case NBD_OPT_EXPORT_NAME:
			len = be32toh(client_flags) & NBD_FLAG_NO_ZEROES ? 10 : 10 + 124;
			return send_all(sock, &export.size, len, 0);
		case NBD_OPT_GO:
			return reply_option(sock, option, NBD_REP_INFO, &export, 12) &&
			       reply_option(sock, option, NBD_REP_ACK, NULL, 0);
		case NBD_OPT_ABORT:
			reply_option(sock, option, NBD_REP_ACK, NULL, 0);
			return false;
		default:
			if (!reply_option(sock, option, NBD_REP_ERR_UNSUP, NULL, 0))
				return false;
		}
	}
}

static void *serve_connection(void *arg)
{
	struct connection c = {
		.sock = (int)(intptr_t)arg,
		.in = malloc(IN_SIZE),
		.out = malloc(OUT_SIZE),
	};

	if (c.in && c.out && negotiate(c.sock)) {
		while (serve_request(&c))
			;
		flush_out(&c, 0);
	}
	free(c.in);
	free(c.out);
	close(c.sock);
	return NULL;
}

static int listen_at(const char *where)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	bool is_path = where[0] == '/';
	int sock, one = 1;

	sock = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		err(1, "socket");
	if (is_path) {
		if (strlen(where) >= sizeof(un.sun_path))
			errx(1, "%s: too long", where);
		strcpy(un.sun_path, where);
		if (bind(sock, (struct sockaddr *)&un, sizeof(un)) < 0)
			err(1, "%s", where);
	} else {
		in.sin_port = htons(atoi(where));
		setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(sock, (struct sockaddr *)&in, sizeof(in)) < 0)
			err(1, "port %s", where);
		/* Inherited by what is accepted. */
		setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	if (listen(sock, SOMAXCONN) < 0)
		err(1, "listen");
	return sock;
}

int main(int argc, char **argv)
{
	struct stat st;
	int listener;

	if (argc != 3)
		errx(2, "usage: limit-server FILE SOCKET|PORT");
	file = open(argv[1], O_RDWR | O_CLOEXEC);
	if (file < 0 || fstat(file, &st) < 0)
		err(1, "%s", argv[1]);
	size = st.st_size;
	signal(SIGPIPE, SIG_IGN);
	listener = listen_at(argv[2]);
	for (;;) {
		int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (sock < 0)
			continue;
		if (pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)sock)) {
			close(sock);
			continue;
		}
		pthread_detach(thread);
	}
}
