/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web_handshake.c - is this a WebSocket handshake as RFC 6455 wants it?
 *
 * libwebsockets 4.1 answers many that are not with 101, and hangs up on others without a word. So all
 * that it looks at is looked at here before, and a client that is wrong is told what is.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "net/web_parts.h"

/* libwebsockets copies these two into buffers of its own, and hangs up when they do not fit. */
#define CONNECTION_BYTES 127
#define PROTOCOLS_BYTES 127
#define HEADER_BYTES 512

struct refusal {
	unsigned status;
	const char *headers; /* further ones */
	const char *text;
};

/* 16 bytes in base64: 22 characters of its alphabet and two of padding. */
static bool key_is_valid(const char *key)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	return strlen(key) == 24 && strspn(key, alphabet) == 22 && strcmp(key + 22, "==") == 0;
}

static bool is_http_1_1(struct lws *wsi)
{
	char version[HEADER_BYTES];

	return web_header(wsi, WSI_TOKEN_HTTP, version, sizeof version) > 0 &&
	       strcmp(version, "HTTP/1.1") == 0;
}

static bool origin_is_allowed(const struct web_listener *listener, const char *origin)
{
	for (size_t i = 0; i < listener->origin_count; i++) {
		if (strcasecmp(listener->origins[i], origin) == 0)
			return true;
	}
	return false;
}

static bool check_origin(const struct web_socket *socket, struct refusal *out)
{
	char origin[HEADER_BYTES];

	if (!socket->listener->origins)
		return true;
	*out = (struct refusal){403, NULL,
				"The page that opens this WebSocket is not one of "
				"websockets_origin."};
	return web_header(socket->wsi, WSI_TOKEN_ORIGIN, origin, sizeof origin) > 0 &&
	       origin_is_allowed(socket->listener, origin);
}

static bool check_protocols(struct lws *wsi, struct refusal *out)
{
	char list[PROTOCOLS_BYTES];

	*out = (struct refusal){400, NULL,
				"Sec-WebSocket-Protocol must name mqtt (or mqttv3.1) "
				"[MQTT-6.0.0-3]."};
	return web_header(wsi, WSI_TOKEN_PROTOCOL, list, sizeof list) > 0 &&
	       (web_list_has(list, "mqtt") || web_list_has(list, "mqttv3.1"));
}

static bool check_request_line(struct lws *wsi, struct refusal *out)
{
	char host[HEADER_BYTES];

	*out = (struct refusal){405, "Allow: GET\r\n", "A WebSocket is opened with GET."};
	if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0)
		return false;
	*out = (struct refusal){400, NULL, "A WebSocket is opened with HTTP/1.1."};
	if (!is_http_1_1(wsi))
		return false;
	*out = (struct refusal){400, NULL, "The header Host is missing."};
	return web_header(wsi, WSI_TOKEN_HOST, host, sizeof host) > 0;
}

static bool check_headers(struct lws *wsi, struct refusal *out)
{
	char value[HEADER_BYTES];

	*out = (struct refusal){400, NULL, "Only an Upgrade to websocket is offered here."};
	if (web_header(wsi, WSI_TOKEN_UPGRADE, value, sizeof value) <= 0 ||
	    strcasecmp(value, "websocket") != 0)
		return false;
	*out = (struct refusal){400, NULL, "The header Connection must say Upgrade."};
	if (web_header(wsi, WSI_TOKEN_CONNECTION, value, CONNECTION_BYTES) <= 0 ||
	    !web_list_has(value, "upgrade"))
		return false;
	*out = (struct refusal){426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
				"Sec-WebSocket-Version must be 13."};
	if (web_header(wsi, WSI_TOKEN_VERSION, value, sizeof value) <= 0 ||
	    strcmp(value, "13") != 0)
		return false;
	*out = (struct refusal){400, NULL, "Sec-WebSocket-Key must be 16 bytes in base64."};
	return web_header(wsi, WSI_TOKEN_KEY, value, sizeof value) > 0 && key_is_valid(value);
}

static bool is_allowed(struct web_socket *socket, struct refusal *out)
{
	if (!check_request_line(socket->wsi, out) || !check_headers(socket->wsi, out) ||
	    !check_protocols(socket->wsi, out) || !check_origin(socket, out))
		return false;
	*out = (struct refusal){503, "Retry-After: 5\r\n",
				"The broker takes nobody at the moment."};
	return socket->home->web->settings.hooks.may_accept(socket->home->me);
}

int web_check_upgrade(struct web_socket *socket)
{
	char text[ADDRESS_TEXT_BYTES];
	struct log_fields fields = {0};
	struct refusal refusal;

	/* It has answered an unknown Upgrade itself, and asks all the same. */
	if (lws_hdr_total_length(socket->wsi, WSI_TOKEN_UPGRADE) <= 0)
		return -1;
	web_follow_proxy(socket);
	if (is_allowed(socket, &refusal))
		return 0;
	counter_add(socket->home->me->counters, COUNTER_REFUSED_HANDSHAKE, 1);
	fields.address = address_text(&socket->address, text);
	fields.reason = refusal.text;
	log_event(LOG_TYPE_NOTICE, &fields, "WebSocket refused (%u %s)", refusal.status,
		  web_status_text(refusal.status));
	/* 1: libwebsockets ends the transaction, and with it the connection. */
	return web_refuse(socket, refusal.status, refusal.headers, refusal.text) ? 1 : -1;
}
