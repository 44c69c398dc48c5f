/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web_http.c - one request and its answer at a time.
 *
 *	headers complete --> on_request() ... web_answer() --> head and body leave, part by part
 *	                                        next_part() <-- a part has left, there is more
 *	                                        web_continue() -->
 *
 * While the answer is being made the client is not read; while it leaves, libwebsockets ignores what
 * the client sends but is woken by it in every turn. So who sends more requests and does not take the
 * answer is cut off (web_request_tick).
 *
 * Answers are written out here, byte for byte: libwebsockets' own helpers do not know most of what
 * they would have to say.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "net/web_parts.h"

#define HEAD_BYTES 2048
/* Head and body leave in one piece up to this length. */
#define ONE_PIECE_BYTES 16384u

/* Owner: its worker. */
struct web_exchange {
	struct web_socket *socket; /* NULL: the client has gone */
	struct web_response response;
	uint64_t left;	   /* bytes of the body that have not been handed to libwebsockets */
	struct slice part; /* what is left of the part that is there */
	char *head;	   /* NULL: has left */
	size_t head_len;
	uint64_t written, written_before; /* to see progress */
	uint64_t progress_ms;
	bool is_head_only, keeps_alive;
	bool is_answered, is_waiting; /* for the next part */
	bool is_broken;
};

static void exchange_free(struct web_exchange *exchange)
{
	if (exchange->is_answered && exchange->response.free_body)
		exchange->response.free_body(exchange->response.owner);
	free(exchange->head);
	free(exchange);
}

static enum web_method method_of(struct lws *wsi)
{
	if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) > 0)
		return WEB_GET;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) > 0)
		return WEB_HEAD;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_OPTIONS_URI) > 0)
		return WEB_OPTIONS;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) > 0)
		return WEB_POST;
	return WEB_OTHER;
}

/* As libwebsockets sees it, or the connection would hang. */
static bool keeps_alive(struct lws *wsi)
{
	char value[64];

	if (web_header(wsi, WSI_TOKEN_HTTP, value, sizeof value) <= 0 ||
	    strcmp(value, "HTTP/1.1") != 0)
		return false;
	return web_header(wsi, WSI_TOKEN_CONNECTION, value, sizeof value) >= 0 &&
	       !web_list_has(value, "close");
}

static bool path_is_safe(const char *path, size_t len)
{
	if (len == 0 || path[0] != '/' || memchr(path, '\0', len))
		return false;
	for (size_t i = 0; i + 2 < len; i++) {
		if (memcmp(path + i, "/..", 3) == 0 && (i + 3 == len || path[i + 3] == '/'))
			return false;
	}
	return true;
}

static int refuse(struct web_socket *socket, unsigned status, const char *text)
{
	(void)web_refuse(socket, status, NULL, text);
	return -1;
}

static void local_address(const struct web_socket *socket, struct address *out)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof at;

	if (getsockname(lws_get_socket_fd(socket->wsi), (struct sockaddr *)&at, &len) == 0)
		address_set(out, &at);
}

int web_request_begin(struct web_socket *socket, const char *path, size_t len)
{
	struct web_worker *home = socket->home;
	struct web_request request = {.method = method_of(socket->wsi),
				      .path = slice_of(path, len)};
	char query[512], host[256], etag[256], encodings[256];
	struct web_exchange *exchange;

	if (!path_is_safe(path, len))
		return refuse(socket, 400, "This is no path.");
	if (!home->web->settings.hooks.may_accept(home->me))
		return refuse(socket, 503, "The broker answers nobody at the moment.");
	exchange = calloc(1, sizeof *exchange);
	if (!exchange)
		return -1;
	web_follow_proxy(socket);
	exchange->socket = socket;
	exchange->is_head_only = request.method == WEB_HEAD;
	/* A body that may follow is not read: the connection ends with the answer. */
	exchange->keeps_alive =
		(request.method == WEB_GET || request.method == WEB_HEAD) &&
		lws_hdr_total_length(socket->wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0 &&
		keeps_alive(socket->wsi);
	exchange->progress_ms = home->me->now_ms;
	socket->exchange = exchange;
	web_header(socket->wsi, WSI_TOKEN_HTTP_URI_ARGS, query, sizeof query);
	web_header(socket->wsi, WSI_TOKEN_HOST, host, sizeof host);
	web_header(socket->wsi, WSI_TOKEN_HTTP_IF_NONE_MATCH, etag, sizeof etag);
	web_header(socket->wsi, WSI_TOKEN_HTTP_ACCEPT_ENCODING, encodings, sizeof encodings);
	request.query = slice_from_string(query);
	request.host = slice_from_string(host);
	request.if_none_match = slice_from_string(etag);
	request.accepts_gzip = strstr(encodings, "gzip") != NULL;
	web_peer_of(socket, &request.peer);
	local_address(socket, &request.at);
	timer_arm_in(&home->me->wheel, &socket->timer, WEB_LOOK_MS);
	web_forget_timeout(socket);
	lws_rx_flow_control(socket->wsi, 0);
	counter_add(home->me->counters, COUNTER_HTTP_REQUESTS, 1);
	home->web->settings.hooks.on_request(home->me, exchange, &request);
	return 0;
}

/* NULL: no memory. */
static char *head_make(const struct web_exchange *exchange, size_t room, size_t *out_len)
{
	const struct web_response *response = &exchange->response;
	char type[160] = "", length[64] = "";
	char *head = malloc(HEAD_BYTES + room);
	int len;

	if (!head)
		return NULL;
	if (response->content_type)
		snprintf(type, sizeof type, "Content-Type: %s\r\n", response->content_type);
	if (response->status != 304)
		snprintf(length, sizeof length, "Content-Length: %llu\r\n",
			 (unsigned long long)response->total_len);
	len = snprintf(head, HEAD_BYTES, "HTTP/1.1 %u %s\r\n%s%s%s%s\r\n", response->status,
		       web_status_text(response->status), type, length,
		       response->headers ? response->headers : "",
		       exchange->keeps_alive ? "" : "Connection: close\r\n");
	if (len >= HEAD_BYTES) {
		free(head);
		return NULL;
	}
	*out_len = (size_t)len;
	return head;
}

static bool head_prepare(struct web_exchange *exchange)
{
	size_t together = exchange->part.len <= ONE_PIECE_BYTES ? exchange->part.len : 0;

	exchange->head = head_make(exchange, together, &exchange->head_len);
	if (!exchange->head || together == 0)
		return exchange->head != NULL;
	memcpy(exchange->head + exchange->head_len, exchange->part.data, together);
	exchange->head_len += together;
	exchange->part = slice_of(exchange->part.data + together, exchange->part.len - together);
	exchange->left -= together;
	return true;
}

void web_answer(struct worker *me, struct web_exchange *exchange,
		const struct web_response *response)
{
	struct web_socket *socket = exchange->socket;

	exchange->response = *response;
	exchange->is_answered = true;
	if (!socket) {
		exchange_free(exchange);
		return;
	}
	if (!exchange->response.total_len)
		exchange->response.total_len = response->body.len;
	if (!exchange->is_head_only) {
		exchange->left = exchange->response.total_len;
		exchange->part = response->body;
	}
	exchange->is_broken = !head_prepare(exchange);
	exchange->progress_ms = me->now_ms;
	lws_rx_flow_control(socket->wsi, 1);
	lws_callback_on_writable(socket->wsi);
}

void web_continue(struct worker *me, struct web_exchange *exchange, struct slice part,
		  bool is_broken)
{
	struct web_socket *socket = exchange->socket;

	if (!socket) {
		exchange_free(exchange);
		return;
	}
	exchange->is_waiting = false;
	exchange->is_broken = is_broken || part.len == 0 || part.len > exchange->left;
	exchange->part = part;
	exchange->progress_ms = me->now_ms;
	lws_rx_flow_control(socket->wsi, 1);
	lws_callback_on_writable(socket->wsi);
}

/* false: the connection is lost. */
static bool write_some(struct web_exchange *exchange)
{
	struct lws *wsi = exchange->socket->wsi;

	while (!lws_partial_buffered(wsi)) {
		size_t len =
			exchange->part.len < WEB_READ_BYTES ? exchange->part.len : WEB_READ_BYTES;

		if (exchange->head) {
			if (lws_write(wsi, (unsigned char *)exchange->head, exchange->head_len,
				      LWS_WRITE_HTTP) < 0)
				return false;
			exchange->written += exchange->head_len;
			free(exchange->head);
			exchange->head = NULL;
			continue;
		}
		if (len == 0)
			return true;
		if (lws_write(wsi, (unsigned char *)(uintptr_t)exchange->part.data, len,
			      LWS_WRITE_HTTP) < 0)
			return false;
		exchange->written += len;
		exchange->left -= len;
		exchange->part = slice_of(exchange->part.data + len, exchange->part.len - len);
	}
	return true;
}

static int finish(struct web_socket *socket)
{
	bool keep = socket->exchange->keeps_alive && !socket->home->is_stopping;

	exchange_free(socket->exchange);
	socket->exchange = NULL;
	web_watch_headers(socket);
	if (!keep || lws_http_transaction_completed(socket->wsi))
		return -1;
	web_forget_timeout(socket);
	return 0;
}

int web_request_writable(struct web_socket *socket)
{
	struct web_exchange *exchange = socket->exchange;

	if (!exchange || !exchange->is_answered || exchange->is_waiting)
		return 0;
	if (exchange->is_broken || !write_some(exchange))
		return -1;
	if (lws_partial_buffered(socket->wsi)) {
		lws_callback_on_writable(socket->wsi);
		return 0;
	}
	if (exchange->left == 0)
		return finish(socket);
	exchange->is_waiting = true;
	lws_rx_flow_control(socket->wsi, 0);
	exchange->response.next_part(socket->home->me, exchange, exchange->response.owner);
	return 0;
}

void web_request_lost(struct web_socket *socket)
{
	struct web_exchange *exchange = socket->exchange;

	socket->exchange = NULL;
	exchange->socket = NULL;
	/* Who is still making the answer, or a part of it, brings it, and then it is freed. */
	if (exchange->is_answered && !exchange->is_waiting)
		exchange_free(exchange);
}

static bool has_more_requests(const struct web_socket *socket)
{
	char byte;

	return recv(lws_get_socket_fd(socket->wsi), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool web_request_tick(struct web_socket *socket)
{
	struct web_exchange *exchange = socket->exchange;
	struct web_worker *home = socket->home;
	bool is_ours = !exchange->is_answered || exchange->is_waiting;

	if (is_ours || exchange->written != exchange->written_before) {
		exchange->written_before = exchange->written;
		exchange->progress_ms = home->me->now_ms;
	} else if (has_more_requests(socket) ||
		   home->me->now_ms - exchange->progress_ms >= home->connect_timeout_ms) {
		return false;
	}
	timer_arm_in(&home->me->wheel, &socket->timer, WEB_LOOK_MS);
	return true;
}
