/* Ranks four films for a user, before and after a click, and again when a newer artifact was installed by a delta.
 * Usage: rank FOLDER, which has ranker.kite, next.delta and ranker.pub. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kitestring.h"

static KitestringRanker *ranker;
static KitestringShelf *shelf;

/* Ends the example where a call failed. */
static void ranked(KitestringStatus status) {
    if (status == KITESTRING_STATUS_OK) return;
    fprintf(stderr, "%s\n", kitestring_ranker_message(ranker));
    exit(1);
}

static void shelved(KitestringStatus status) {
    if (status == KITESTRING_STATUS_OK) return;
    fprintf(stderr, "%s\n", kitestring_shelf_message(shelf));
    exit(1);
}

static uint8_t *read_file(const char *folder, const char *name, size_t *length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) { perror(path); exit(1); }
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = calloc(*length + 1, 1);
    if (!bytes || fread(bytes, 1, *length, file) != *length) { perror(path); exit(1); }
    fclose(file);
    return bytes;
}

static const char *const FEATURES[] = {"item", "genres", "price"};
static const char *const ITEMS[] = {"arrival", "brazil", "contact", "dune"};

static const char DECLARATION[] =
    "{\"actions\": [\"exposure\", \"click\"], \"columns\": [\"item\"], \"triggers\": ["
    "{\"name\": \"click\", \"sequence\": [{\"actions\": [\"click\"]}]},"
    "{\"name\": \"two clicks\", \"sequence\": [{\"actions\": [\"click\"]}, {\"actions\": [\"click\"]}]}]}";

static void print_ranking(void) {
    const float *scores;
    size_t candidates, predictions, order[4];
    ranked(kitestring_ranker_order(ranker, 0, order, 4));
    ranked(kitestring_ranker_rank(ranker, &scores, &candidates, &predictions));
    for (size_t place = 0; place < candidates; place++) {
        printf("%s", ITEMS[order[place]]);
        for (size_t prediction = 0; prediction < predictions; prediction++) {
            uint32_t bits;
            memcpy(&bits, &scores[order[place] * predictions + prediction], sizeof bits);
            printf(" %08" PRIx32, bits);
        }
        printf("\n");
    }
}

static void replay(void) {
    ranked(kitestring_ranker_open_shelf(ranker, shelf));
    printf("release %" PRIu64 " of %s\n", kitestring_ranker_release(ranker), kitestring_ranker_version(ranker));
    KitestringValue city = {.kind = KITESTRING_TEXT, .text = "riga"};
    KitestringValue age = {.kind = KITESTRING_NUMBER, .number = 31};
    ranked(kitestring_ranker_set(ranker, "city", &city));
    ranked(kitestring_ranker_set(ranker, "age", &age));
    ranked(kitestring_ranker_set_scenarios(ranker, (const char *const[]){"home"}, 1));

    static const char *const GENRES[][2] = {
        {"drama", "science fiction"}, {"comedy"}, {"science fiction"}, {"adventure", "science fiction"}};
    static const size_t COUNTS[] = {2, 1, 1, 2};
    static const double PRICES[] = {9.5, 4, 7.25, 12};
    KitestringValue values[4][3] = {0};
    for (int at = 0; at < 4; at++) {
        values[at][0] = (KitestringValue){.kind = KITESTRING_TEXT, .text = ITEMS[at]};
        values[at][1] = (KitestringValue){.kind = KITESTRING_LIST, .list = GENRES[at], .count = COUNTS[at]};
        values[at][2] = (KitestringValue){.kind = KITESTRING_NUMBER, .number = PRICES[at]};
    }
    ranked(kitestring_ranker_set_candidates(ranker, NULL, FEATURES, 3, values[0], 4));
    print_ranking();
    ranked(kitestring_ranker_append(ranker, (const char *const[]){"clicked"}, (const char *const[]){"contact"}, 1));
    printf("after a click\n");
    print_ranking();

    /* From here on the runtime keeps what the user does, and the histories with it. */
    const int64_t now = 1700000000000;
    ranked(kitestring_ranker_observe(ranker, DECLARATION, NULL, now));
    static const char *const CLICKED[] = {"dune", "arrival"};
    for (int click = 0; click < 2; click++) {
        KitestringEvent event = {.action = "click", .texts = &CLICKED[click], .text_count = 1, .time = now};
        const uint32_t *fired;
        size_t count;
        uint8_t moved;
        ranked(kitestring_ranker_push(ranker, &event, now, &fired, &count, &moved));
        printf("a click on %s moved %d fired", CLICKED[click], moved);
        for (size_t at = 0; at < count; at++) printf(" %" PRIu32, fired[at]);
        printf("\n");
    }
    print_ranking();
    ranked(kitestring_ranker_forget(ranker, now));
}

int main(int count, char **arguments) {
    if (count != 2) { fprintf(stderr, "usage: rank FOLDER\n"); return 2; }
    size_t length;
    uint8_t *key = read_file(arguments[1], "ranker.pub", &length);
    const char *const keys[] = {(const char *)key};
    ranker = kitestring_ranker_new();
    shelf = kitestring_shelf_new();

    char folder[4096];
    snprintf(folder, sizeof folder, "%s/shelf", arguments[1]);
    shelved(kitestring_shelf_open(shelf, folder, keys, 1));
    const char *const provided[] = {"city", "age", "clicked", "item", "genres", "price"};
    uint8_t *artifact = read_file(arguments[1], "ranker.kite", &length);
    shelved(kitestring_shelf_install(shelf, artifact, length, provided, 6));
    replay();
    uint8_t *delta = read_file(arguments[1], "next.delta", &length);
    shelved(kitestring_shelf_update(shelf, delta, length, provided, 6));
    replay();

    free(delta);
    free(artifact);
    free(key);
    kitestring_ranker_free(ranker);
    kitestring_shelf_free(shelf);
    return 0;
}
