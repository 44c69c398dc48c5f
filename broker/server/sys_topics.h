/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_topics.h - the broker about itself, under mosquitto's names below $SYS/broker/.
 *
 * Owner: worker 0, whose timer publishes every sys_interval what has changed, retained. The log's
 * topics ($SYS/broker/log/...) are published from any thread, by a letter to worker 0.
 */
#ifndef NIGHTJAR_SERVER_SYS_TOPICS_H
#define NIGHTJAR_SERVER_SYS_TOPICS_H

#include "base/log.h"
#include "runtime/worker.h"

/* On worker 0, at its start. interval_s 0: nothing is published. */
void sys_topics_start(struct worker *me, unsigned interval_s);
void sys_topics_set_interval(struct worker *me, unsigned interval_s);
void sys_topics_stop(struct worker *me);
/* After the workers ended. */
void sys_topics_free(struct worker *worker);

/* struct log_settings.to_topic; does nothing before sys_topics_start() and after _stop(). */
void sys_topics_log(enum log_type type, const char *line);

#endif
