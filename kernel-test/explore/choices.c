/*
 * Choices: those of the schedule that runs, those that are given, and the string that a schedule is
 * (see search.c, 1, 2 and 5).
 */
#include "kernel-test/explore/schedule.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHOICES = 1 << 16 };

uint64_t next_choice;
unsigned choice_count, given;

static struct choice {
    uint64_t step;
    uint16_t taken, count;
    uint8_t fiber[FIBERS_MAX + 1]; /* who goes on, by choice */
    bool store;
} choices[CHOICES];

static struct token {
    uint64_t step;
    unsigned value;
    bool store;
} tokens[256];
static unsigned token_count, token_next;

static void given_next(void)
{
    if (replaying) {
        next_choice = token_next < token_count ? tokens[token_next].step + first_step : UINT64_MAX;
    } else {
        next_choice = choice_count < given ? choices[choice_count].step + first_step : 0;
    }
}

void choices_begin(void)
{
    choice_count = token_next = 0;
    given_next();
}

static unsigned replayed(bool store, unsigned count, const uint8_t *who)
{
    unsigned taken = 0;
    const struct token *token = &tokens[token_next];
    if (token_next < token_count && token->step == steps - first_step && token->store == store) {
        taken = store ? token->value : count;
        for (unsigned i = 0; !store && i < count; i++) {
            taken = who[i] == token->value ? i : taken;
        }
        if (taken >= count) {
            fprintf(stderr, "explore: the schedule does not fit at step %lu\n", (unsigned long)token->step);
            taken = 0;
        }
        token_next++;
        given_next();
    }
    return taken;
}

unsigned choose(bool store, unsigned count, const uint8_t *who)
{
    if (count == 1) {
        return 0;
    }
    if (replaying) {
        return replayed(store, count, who);
    }
    struct choice *choice = &choices[choice_count];
    if (choice_count == CHOICES - 1) {
        fprintf(stderr, "explore: too many choices\n");
        exit(2);
    }
    if (choice_count >= given) {
        *choice = (struct choice){ .step = steps - first_step, .count = (uint16_t)count, .store = store };
        for (unsigned i = 0; !store && i < count; i++) {
            choice->fiber[i] = who[i];
        }
    } else if (choice->count != count || choice->step != steps - first_step || choice->store != store) {
        fprintf(stderr, "explore: %s is not deterministic at steps %lu\n", scenario->name,
                (unsigned long)(steps - first_step));
        exit(2);
    }
    choice_count++;
    given_next();
    return choice->taken;
}

unsigned choose_store(unsigned count)
{
    return choose(true, count, NULL);
}


bool choices_advance(void)
{
    while (choice_count > 0 && choices[choice_count - 1].taken + 1 == choices[choice_count - 1].count) {
        choice_count--;
    }
    if (choice_count == 0) {
        return false;
    }
    choices[choice_count - 1].taken++;
    given = choice_count;
    return true;
}

void schedule_print(char *text, size_t size)
{
    size_t length = 0;
    text[0] = 0;
    for (unsigned i = 0; i < choice_count; i++) {
        const struct choice *choice = &choices[i];
        if (choice->taken != 0 && length < size) {
            int written = snprintf(text + length, size - length, choice->store ? "%s%lu~%u" : "%s%lu:%u",
                                   length == 0 ? "" : ",", (unsigned long)choice->step,
                                   choice->store ? choice->taken : choice->fiber[choice->taken]);
            length += (size_t)written;
        }
    }
}

bool schedule_read(const char *text)
{
    token_count = 0;
    while (*text != 0) {
        char *end;
        struct token *token = &tokens[token_count];
        token->step = strtoul(text, &end, 10);
        if (token_count++ == 255 || (*end != ':' && *end != '~')) {
            return false;
        }
        token->store = *end == '~';
        token->value = (unsigned)strtoul(end + 1, &end, 10);
        text = *end == ',' ? end + 1 : end;
        if (*end != 0 && *end != ',') {
            return false;
        }
    }
    return true;
}
