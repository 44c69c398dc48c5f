/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message_home.h - the last step of a message's life; for letter.c, which empties the mailbox.
 */
#ifndef NIGHTJAR_RUNTIME_MESSAGE_HOME_H
#define NIGHTJAR_RUNTIME_MESSAGE_HOME_H

struct worker;
struct letter_node;

/* Frees the message of this home_node. me is its home, or NULL once the workers have stopped. */
void message_come_home(struct worker *me, struct letter_node *node);

#endif
