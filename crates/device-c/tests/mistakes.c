/* Mistakes that a C app can make: each is refused, says why, and leaves what was there usable.
 * Usage: mistakes FOLDER, which has ranker.kite and ranker.pub. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kitestring.h"

static KitestringRanker *ranker;

static void expect(int line, KitestringStatus found, KitestringStatus expected, const char *part) {
    const char *message = kitestring_ranker_message(ranker);
    if (found != expected || !strstr(message, part)) {
        printf("line %d: status %d, expected %d: %s\n", line, (int)found, (int)expected, message);
        exit(1);
    }
}

#define EXPECT(call, status, part) expect(__LINE__, call, KITESTRING_STATUS_##status, part)

int main(int count, char **arguments) {
    if (count != 2) return 2;
    char path[4096], key[66] = {0};
    snprintf(path, sizeof path, "%s/ranker.pub", arguments[1]);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(key, sizeof key, file)) return 2;
    fclose(file);
    snprintf(path, sizeof path, "%s/ranker.kite", arguments[1]);
    const char *const keys[] = {key}, *const others[] = {"00"}, *const none[] = {NULL};
    const char *const features[] = {"item", "genres", "price"}, *const wrong[] = {"item", "genre", "price"};
    const float *scores;
    size_t candidates, predictions, order[1];

    ranker = kitestring_ranker_new();
    EXPECT(kitestring_ranker_rank(ranker, &scores, &candidates, &predictions), CLOSED, "open");
    EXPECT(kitestring_ranker_open_file(ranker, NULL, keys, 1), ARGUMENT, "the path is null");
    EXPECT(kitestring_ranker_open_file(ranker, "\xff", keys, 1), ARGUMENT, "not UTF-8");
    EXPECT(kitestring_ranker_open_file(ranker, "/there/is/no/such.kite", keys, 1), IO, "could not open");
    EXPECT(kitestring_ranker_open_file(ranker, path, others, 1), FORMAT, "64 hexadecimal digits");
    EXPECT(kitestring_ranker_open_file(ranker, path, NULL, 1), ARGUMENT, "the keys is null");
    EXPECT(kitestring_ranker_open_file(ranker, path, none, 1), ARGUMENT, "the keys is null");
    EXPECT(kitestring_ranker_open_file(ranker, path, keys, 0), FORMAT, "not signed by a key that is trusted");
    EXPECT(kitestring_ranker_open_bytes(ranker, (const uint8_t *)"kite", 4, keys, 1), FORMAT, "");
    EXPECT(kitestring_ranker_open_bytes(ranker, NULL, 4, keys, 1), ARGUMENT, "the artifact is null");
    EXPECT(kitestring_ranker_open_bytes(ranker, (const uint8_t *)"kite", SIZE_MAX, keys, 1), ARGUMENT, "memory");
    EXPECT(kitestring_ranker_open_file(ranker, path, keys, 1), OK, "");
    /* A refused artifact leaves the one that is open. */
    EXPECT(kitestring_ranker_open_bytes(ranker, NULL, 0, keys, 1), FORMAT, "");
    if (kitestring_ranker_release(ranker) != 1 || strcmp(kitestring_ranker_version(ranker), "example-1")) return 3;

    KitestringValue value = {.kind = KITESTRING_TEXT}, number = {.kind = KITESTRING_NUMBER, .number = 1};
    EXPECT(kitestring_ranker_set(ranker, "city", NULL), ARGUMENT, "the value is null");
    EXPECT(kitestring_ranker_set(ranker, "city", &value), ARGUMENT, "the text is null");
    EXPECT(kitestring_ranker_set(ranker, NULL, &number), ARGUMENT, "the feature is null");
    EXPECT(kitestring_ranker_set(ranker, "ctiy", &number), DATA, "did you mean `city`?");
    EXPECT(kitestring_ranker_set(ranker, "clicked", &number), DATA, "a list of texts");
    value.kind = 9;
    EXPECT(kitestring_ranker_set(ranker, "city", &value), ARGUMENT, "no kind 9");
    value = (KitestringValue){.kind = KITESTRING_LIST, .list = NULL, .count = 2};
    EXPECT(kitestring_ranker_set(ranker, "clicked", &value), ARGUMENT, "the list is null");
    EXPECT(kitestring_ranker_append(ranker, &features[0], &features[1], 1), DATA, "item");
    EXPECT(kitestring_ranker_remember_all(ranker), OK, "");
    EXPECT(kitestring_ranker_set_scenarios(ranker, NULL, 1), ARGUMENT, "the scenarios is null");

    KitestringValue film[] = {{.kind = KITESTRING_TEXT, .text = "dune"}, {.kind = KITESTRING_MISSING}, number};
    EXPECT(kitestring_ranker_set_candidates(ranker, "example-1", features, 3, film, 1), OK, "");
    EXPECT(kitestring_ranker_set_candidates(ranker, "example-1", wrong, 3, film, 1), DATA, "did you mean `genres`?");
    EXPECT(kitestring_ranker_set_candidates(ranker, "example-1", features, 2, film, 1), DATA, "price");
    EXPECT(kitestring_ranker_set_candidates(ranker, "example-1", features, 3, NULL, 1), ARGUMENT, "the values is null");
    EXPECT(kitestring_ranker_set_candidates(ranker, "example-1", features, 3, film, SIZE_MAX), ARGUMENT, "memory");
    EXPECT(kitestring_ranker_set_candidates(ranker, NULL, features, 3, film, 1), OK, "");
    EXPECT(kitestring_ranker_set_candidates(ranker, "example-2", features, 3, film, 1), DATA, "device has example-1");
    EXPECT(kitestring_ranker_set_candidates(ranker, "\xff", features, 3, film, 1), ARGUMENT, "not UTF-8");
    film[2].kind = 7;
    EXPECT(kitestring_ranker_set_candidates(ranker, "example-1", features, 3, film, 1), ARGUMENT, "no kind 7");

    EXPECT(kitestring_ranker_rank(ranker, NULL, &candidates, &predictions), ARGUMENT, "no place");
    EXPECT(kitestring_ranker_order(ranker, 0, order, 2), ARGUMENT, "2 of 1 candidates");
    EXPECT(kitestring_ranker_order(ranker, 2, order, 1), ARGUMENT, "no prediction 2 of 2");
    EXPECT(kitestring_ranker_order(ranker, 0, NULL, 1), ARGUMENT, "no place");
    EXPECT(kitestring_ranker_rank(ranker, &scores, &candidates, &predictions), OK, "");
    if (candidates != 1 || predictions != 2 || !(scores[0] > 0 && scores[0] < 1)) return 4;
    if (kitestring_ranker_count(ranker, KITESTRING_SHARED) != 3 || kitestring_ranker_count(ranker, 9) != 0) return 5;
    if (strcmp(kitestring_ranker_name(ranker, KITESTRING_PREDICTIONS, 1), "like")) return 6;
    if (kitestring_ranker_name(ranker, KITESTRING_OF_ITEMS, 3) || kitestring_ranker_name(NULL, 0, 0)) return 7;
    if (kitestring_ranker_rank(NULL, &scores, &candidates, &predictions) != KITESTRING_STATUS_ARGUMENT) return 8;

    const char *declared = "{\"actions\": [\"click\"], \"columns\": [\"item\"], \"numbers\": [\"seconds\"]}";
    const char *clicked[] = {"dune"};
    float seconds[] = {2};
    KitestringEvent event = {.action = "click", .texts = clicked, .text_count = 1, .numbers = seconds, .number_count = 1, .time = 1};
    const uint32_t *fired;
    size_t fires;
    uint8_t moved;
    EXPECT(kitestring_ranker_push(ranker, &event, 1, &fired, &fires, &moved), CONFIG, "declare them first");
    EXPECT(kitestring_ranker_observe(ranker, NULL, NULL, 1), ARGUMENT, "the declaration is null");
    EXPECT(kitestring_ranker_observe(ranker, "{", NULL, 1), CONFIG, "cannot be read");
    EXPECT(kitestring_ranker_observe(ranker, "{\"actoins\": []}", NULL, 1), CONFIG, "unknown field");
    EXPECT(kitestring_ranker_observe(ranker, declared, "/there/is/no/such/folder/log", 1), IO, "");
    EXPECT(kitestring_ranker_observe(ranker, declared, NULL, 1), OK, "");
    EXPECT(kitestring_ranker_observe(ranker, declared, NULL, 1), CONFIG, "already");
    EXPECT(kitestring_ranker_push(ranker, NULL, 1, &fired, &fires, &moved), ARGUMENT, "the event is null");
    EXPECT(kitestring_ranker_push(ranker, &event, 1, NULL, &fires, &moved), ARGUMENT, "no place");
    EXPECT(kitestring_ranker_push(ranker, &event, 1, &fired, &fires, &moved), OK, "");
    event.text_count = 0;
    EXPECT(kitestring_ranker_push(ranker, &event, 1, &fired, &fires, &moved), DATA, "");
    event.action = "clik";
    EXPECT(kitestring_ranker_push(ranker, &event, 1, &fired, &fires, &moved), CONFIG, "click");

    /* A newer artifact takes the place of the one in use; one that is refused leaves it, with its candidates. */
    film[2] = number;
    KitestringShelf *shelf = kitestring_shelf_new();
    EXPECT(kitestring_ranker_renew_shelf(ranker, NULL, 1), ARGUMENT, "the shelf is null");
    EXPECT(kitestring_ranker_renew_shelf(ranker, shelf, 1), CLOSED, "open");
    EXPECT(kitestring_ranker_renew_file(ranker, NULL, keys, 1, 1), ARGUMENT, "the path is null");
    EXPECT(kitestring_ranker_renew_file(ranker, path, keys, 0, 1), FORMAT, "not signed by a key that is trusted");
    EXPECT(kitestring_ranker_renew_bytes(ranker, (const uint8_t *)"kite", 4, keys, 1, 1), FORMAT, "");
    EXPECT(kitestring_ranker_renew_bytes(ranker, NULL, 4, keys, 1, 1), ARGUMENT, "the artifact is null");
    EXPECT(kitestring_ranker_rank(ranker, &scores, &candidates, &predictions), OK, "");
    if (candidates != 1) return 14;
    float before = scores[0];
    EXPECT(kitestring_ranker_renew_file(ranker, path, keys, 1, 1), OK, "");
    if (kitestring_ranker_release(ranker) != 1) return 15;
    EXPECT(kitestring_ranker_rank(ranker, &scores, &candidates, &predictions), OK, "");
    if (candidates != 0) return 16;
    /* What was done is known as before; what was set of the moment was nothing. */
    EXPECT(kitestring_ranker_set_candidates(ranker, "example-1", features, 3, film, 1), OK, "");
    EXPECT(kitestring_ranker_rank(ranker, &scores, &candidates, &predictions), OK, "");
    if (candidates != 1 || scores[0] != before) return 17;
    event.text_count = 1, event.action = "click", event.id = 5;
    EXPECT(kitestring_ranker_push(ranker, &event, 1, &fired, &fires, &moved), OK, "");
    if (moved != 1) return 18;
    EXPECT(kitestring_ranker_push(ranker, &event, 1, &fired, &fires, &moved), OK, "");
    if (moved != 0) return 19;
    EXPECT(kitestring_ranker_forget(ranker, 1), OK, "");
    /* A declaration without what the ranker's histories list closes it. */
    EXPECT(kitestring_ranker_open_file(ranker, path, keys, 1), OK, "");
    EXPECT(kitestring_ranker_observe(ranker, "{\"actions\": [\"view\"]}", NULL, 1), CONFIG, "clicked");
    EXPECT(kitestring_ranker_rank(ranker, &scores, &candidates, &predictions), CONFIG, "open it again");

    EXPECT(kitestring_ranker_renew_file(ranker, path, keys, 1, 1), CONFIG, "open it again");
    EXPECT(kitestring_ranker_open_shelf(ranker, NULL), ARGUMENT, "the shelf is null");
    EXPECT(kitestring_ranker_open_shelf(ranker, shelf), CLOSED, "open");
    if (kitestring_shelf_open(shelf, arguments[1], others, 1) != KITESTRING_STATUS_FORMAT) return 9;
    if (kitestring_shelf_install(shelf, NULL, 0, features, 3) != KITESTRING_STATUS_CLOSED) return 10;
    snprintf(path, sizeof path, "%s/empty", arguments[1]);
    if (kitestring_shelf_open(shelf, path, keys, 1) != KITESTRING_STATUS_OK) return 11;
    EXPECT(kitestring_ranker_open_shelf(ranker, shelf), DATA, "install");
    if (kitestring_shelf_update(shelf, NULL, 0, features, 3) != KITESTRING_STATUS_DATA) return 12;
    if (!strstr(kitestring_shelf_message(shelf), "get the whole artifact")) return 13;
    kitestring_shelf_free(shelf);
    kitestring_shelf_free(NULL);
    kitestring_ranker_free(ranker);
    kitestring_ranker_free(NULL);
    printf("all refused\n");
    return 0;
}
