/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packet_id_set.h - Packet Identifiers of QoS 2 publications that wait for their PUBREL.
 *
 * Owner: the session's worker. All zero is an empty set that costs nothing; a set with members is
 * a table of 16-bit numbers with open addressing, at most half full.
 */
#ifndef NIGHTJAR_SESSION_PACKET_ID_SET_H
#define NIGHTJAR_SESSION_PACKET_ID_SET_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct packet_id_set {
	struct packet_id_table *table; /* NULL: empty */
};

enum err packet_id_set_add(struct packet_id_set *set, uint16_t id) ERR_CHECKED; /* once each */
bool packet_id_set_has(const struct packet_id_set *set, uint16_t id);
bool packet_id_set_remove(struct packet_id_set *set, uint16_t id); /* false: was not in it */
void packet_id_set_fini(struct packet_id_set *set);
uint32_t packet_id_set_count(const struct packet_id_set *set);

#endif
