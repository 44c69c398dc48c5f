/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.h - may this be routed while the store takes nothing? Used by the files of route only.
 */
#ifndef NIGHTJAR_ROUTE_ROOM_H
#define NIGHTJAR_ROUTE_ROOM_H

#include "route/route_worker.h"

/* ROUTE_DONE: yes, nobody has to keep it. */
enum route_status room_decide(struct worker *me, const struct match_result *result,
			      const struct message *message);

#endif
