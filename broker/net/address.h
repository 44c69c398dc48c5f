/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - where a connection comes from, small enough to keep for each one.
 */
#ifndef NIGHTJAR_NET_ADDRESS_H
#define NIGHTJAR_NET_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

/* Frozen after address_set(). */
struct address {
	uint8_t family; /* AF_INET, AF_INET6, AF_UNIX */
	uint16_t port;	/* host order; AF_UNIX: 0 */
	uint8_t bytes[16];
};

#define ADDRESS_TEXT_BYTES 64

void address_set(struct address *address, const struct sockaddr_storage *from);
/* "127.0.0.1:51234", "[::1]:51234", "unix"; out has ADDRESS_TEXT_BYTES. Returns out. */
const char *address_text(const struct address *address, char *out);

#endif
