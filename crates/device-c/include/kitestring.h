/* The device runtime of Kitestring. Made of crates/device-c by its tests: do not edit.
 *
 * A handle is made by ..._new and given back by ..._free. All other pointers are borrowed: what a call is handed stays the caller's and is read
 * during the call only; what a call hands out stays the handle's and lives as its documentation says.
 *
 * Of every call is asked that a pointer which is not NULL points to as many things as the count beside it says; that texts are UTF-8 and
 * end with a NUL; that a handle was made, was not given back, and is used by one thread at a time. NULL where something is needed, a text that
 * is not UTF-8, a kind or number that there is not are refused, by a status. */

#ifndef KITESTRING_H
#define KITESTRING_H

#include <stddef.h>
#include <stdint.h>

// There is no value.
#define KITESTRING_MISSING 0

// A text: the id of an item, a category, a city.
#define KITESTRING_TEXT 1

// A number.
#define KITESTRING_NUMBER 2

// Several texts: tags, or a history that the app keeps by itself, oldest first.
#define KITESTRING_LIST 3

// The features of the user and the moment, which all candidates share.
#define KITESTRING_SHARED 0

// The features that each candidate has.
#define KITESTRING_OF_ITEMS 1

// The levels of the scenario, the outermost first.
#define KITESTRING_SCENARIOS 2

// What is predicted of a candidate: a column of the scores each.
#define KITESTRING_PREDICTIONS 3

// How a call went. The handle has the message.
typedef enum {
  // It went well.
  KITESTRING_STATUS_OK = 0,
  // A null pointer, a text that is not UTF-8, a place too small for what it is to hold.
  KITESTRING_STATUS_ARGUMENT = 1,
  // Nothing was opened yet.
  KITESTRING_STATUS_CLOSED = 2,
  // A config that does not fit.
  KITESTRING_STATUS_CONFIG = 3,
  // A value, a feature or a candidate that the ranker cannot read.
  KITESTRING_STATUS_DATA = 4,
  // An artifact that is damaged, not to be trusted, or of another version.
  KITESTRING_STATUS_FORMAT = 5,
  // The file system refused.
  KITESTRING_STATUS_IO = 6,
  // A number that is not finite.
  KITESTRING_STATUS_NUMERIC = 7,
  // A defect of Kitestring.
  KITESTRING_STATUS_INTERNAL = 8,
} KitestringStatus;

// Ranks candidates for one user. Not to be used by two threads at once.
typedef struct KitestringRanker KitestringRanker;

// A folder with the artifact that is in use. What is new is checked before it takes the place of what is there, and a kill or a full disk at
// any moment leaves one of them whole. Not to be used by two threads at once.
typedef struct KitestringShelf KitestringShelf;

// A value, as an app has it. Only what its kind names is read. What it points to stays the caller's.
typedef struct {
  // KITESTRING_MISSING, KITESTRING_TEXT, KITESTRING_NUMBER or KITESTRING_LIST.
  uint32_t kind;
  // The number.
  double number;
  // The text, in UTF-8, ended by a NUL.
  const char *text;
  // The first of the list's texts.
  const char *const *list;
  // How many texts the list has.
  size_t count;
} KitestringValue;

// Something a user did. What it points to stays the caller's.
typedef struct {
  // The action's name.
  const char *action;
  // A text for each declared column; an empty one means that there is none.
  const char *const *texts;
  // How many texts there are.
  size_t text_count;
  // A number for each declared one; NAN means that there is none.
  const float *numbers;
  // How many numbers there are.
  size_t number_count;
  // When, in milliseconds since 1970.
  int64_t time;
  // A number by which a second delivery of the same event is known; 0 means that there is none.
  uint64_t id;
} KitestringEvent;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a ranker with which nothing was opened yet. To be given back with kitestring_ranker_free.
KitestringRanker *kitestring_ranker_new(void);

// Gives a ranker back, and all that was got from it. NULL is nothing to give back.
void kitestring_ranker_free(KitestringRanker *ranker);

// Why the last call with the ranker that failed did: until the next call with it. Empty where none did.
const char *kitestring_ranker_message(const KitestringRanker *ranker);

// Opens the artifact in a file, which is mapped into memory and must not be changed meanwhile. One that was opened before stays where the
// new one is refused. `keys` are those of who may publish, each 64 hexadecimal digits.
KitestringStatus kitestring_ranker_open_file(KitestringRanker *ranker,
                                             const char *path,
                                             const char *const *keys,
                                             size_t key_count);

// Opens an artifact in memory, which is copied: the bytes stay the caller's. Otherwise as kitestring_ranker_open_file.
KitestringStatus kitestring_ranker_open_bytes(KitestringRanker *ranker,
                                              const uint8_t *bytes,
                                              size_t length,
                                              const char *const *keys,
                                              size_t key_count);

// Opens the artifact that is in use on a shelf. One that was opened before stays where there is none, or it is refused.
KitestringStatus kitestring_ranker_open_shelf(KitestringRanker *ranker, const KitestringShelf *shelf);

// Goes on with the artifact in a file: what was observed and declared stays, and histories are read anew by what it knows. Candidates are asked
// for again, and what was set of the user and the moment is set again. `now` is the device's clock, in milliseconds since 1970. Where the
// artifact is refused, or what was declared does not fit its histories, the one before stays, with all that was set.
KitestringStatus kitestring_ranker_renew_file(KitestringRanker *ranker,
                                              const char *path,
                                              const char *const *keys,
                                              size_t key_count,
                                              int64_t now);

// Goes on with an artifact in memory, which is copied. Otherwise as kitestring_ranker_renew_file.
KitestringStatus kitestring_ranker_renew_bytes(KitestringRanker *ranker,
                                               const uint8_t *bytes,
                                               size_t length,
                                               const char *const *keys,
                                               size_t key_count,
                                               int64_t now);

// Goes on with the artifact that is in use on a shelf. Otherwise as kitestring_ranker_renew_file.
KitestringStatus kitestring_ranker_renew_shelf(KitestringRanker *ranker, const KitestringShelf *shelf, int64_t now);

// The version of the model: until another artifact takes its place. Empty where none is.
const char *kitestring_ranker_version(const KitestringRanker *ranker);

// The number of the artifact, which counts up with every one that is published; 0 where none is open.
uint64_t kitestring_ranker_release(const KitestringRanker *ranker);

// How many names there are of KITESTRING_SHARED, KITESTRING_OF_ITEMS, KITESTRING_SCENARIOS or KITESTRING_PREDICTIONS.
size_t kitestring_ranker_count(const KitestringRanker *ranker, uint32_t of);

// A name of KITESTRING_SHARED, KITESTRING_OF_ITEMS, KITESTRING_SCENARIOS or KITESTRING_PREDICTIONS, until another artifact takes its place;
// NULL where there is none of this number.
const char *kitestring_ranker_name(const KitestringRanker *ranker,
                                   uint32_t of,
                                   size_t number);

// Sets a feature of the user or the moment; what was never set is missing.
KitestringStatus kitestring_ranker_set(KitestringRanker *ranker, const char *feature, const KitestringValue *value);

// Adds an event to the ends of histories, `count` texts to as many features: to all that list something of this event, for they are read side by
// side. Of more than its length the oldest goes.
KitestringStatus kitestring_ranker_append(KitestringRanker *ranker,
                                          const char *const *features,
                                          const char *const *values,
                                          size_t count);

// Reads the histories into the recurrent state anew, where the ranker has one: from then on an event costs one step, however long its history. A
// state outlives the events that fell out of a history; to have it start again from those that are left, call this again.
KitestringStatus kitestring_ranker_remember_all(KitestringRanker *ranker);

// From now on what the user does is kept in the file `log`, moves the histories and sets off triggers. With NULL it is kept in memory alone. The
// declaration is JSON: "actions", "columns" and "numbers" are lists of names, "triggers" what something follows from, as the documentation of
// kitestring_device::app::Declaration says. `now` is the device's clock, in milliseconds since 1970. A declaration that does not fit the
// ranker's histories closes the ranker; any other failure leaves it as it is.
KitestringStatus kitestring_ranker_observe(KitestringRanker *ranker,
                                           const char *declaration,
                                           const char *log,
                                           int64_t now);

// The user did something. `fired` becomes the first of `count` numbers of the triggers it set off, among those declared: the ranker's, until
// the next call with it. `moved` becomes 1 where a history changed, so that candidates may be in another order now, else 0.
KitestringStatus kitestring_ranker_push(KitestringRanker *ranker,
                                        const KitestringEvent *event,
                                        int64_t now,
                                        const uint32_t **fired,
                                        size_t *count,
                                        uint8_t *moved);

// Forgets what the user did.
KitestringStatus kitestring_ranker_forget(KitestringRanker *ranker, int64_t now);

// Says in which scenario the user is: a text for each level, the outermost first.
KitestringStatus kitestring_ranker_set_scenarios(KitestringRanker *ranker, const char *const *values, size_t count);

// Puts candidates in the place of those before. `version` is that of the model that found them, by its vectors: with another one than
// kitestring_ranker_version they are refused, and the ones before stay. NULL where no model did. `values` has `candidate_count × feature_count`
// values, candidate by candidate, in the order of `features`, which are all those of KITESTRING_OF_ITEMS.
KitestringStatus kitestring_ranker_set_candidates(KitestringRanker *ranker,
                                                  const char *version,
                                                  const char *const *features,
                                                  size_t feature_count,
                                                  const KitestringValue *values,
                                                  size_t candidate_count);

// Ranks the candidates as things are now. `scores` becomes the first of `candidates × predictions` numbers, candidate by candidate: a
// probability of each binary task. They are the ranker's, until the next call with it.
KitestringStatus kitestring_ranker_rank(KitestringRanker *ranker,
                                        const float **scores,
                                        size_t *candidates,
                                        size_t *predictions);

// Ranks the candidates and writes their numbers in the order of a prediction, the highest first; of equal ones the first. `count` is how many
// of the best are wanted: there is place for as many, and there are as many candidates.
KitestringStatus kitestring_ranker_order(KitestringRanker *ranker,
                                         size_t prediction,
                                         size_t *order,
                                         size_t count);

// Makes a shelf with which no folder was opened yet. To be given back with kitestring_shelf_free.
KitestringShelf *kitestring_shelf_new(void);

// Gives a shelf back; the folder stays. NULL is nothing to give back.
void kitestring_shelf_free(KitestringShelf *shelf);

// Why the last call with the shelf that failed did: until the next call with it. Empty where none did.
const char *kitestring_shelf_message(const KitestringShelf *shelf);

// Opens a folder, which is made where it is not there. `keys` are those of who may publish, each 64 hexadecimal digits.
KitestringStatus kitestring_shelf_open(KitestringShelf *shelf,
                                       const char *folder,
                                       const char *const *keys,
                                       size_t key_count);

// Puts an artifact in the place of the one in use. `provided` names the features that the app provides: an artifact that reads another is
// refused, and so is an older one. The one in use stays then.
KitestringStatus kitestring_shelf_install(KitestringShelf *shelf,
                                          const uint8_t *artifact,
                                          size_t length,
                                          const char *const *provided,
                                          size_t provided_count);

// Makes the newer artifact of the one in use and a delta, and puts it in its place. Otherwise as kitestring_shelf_install.
KitestringStatus kitestring_shelf_update(KitestringShelf *shelf,
                                         const uint8_t *delta,
                                         size_t length,
                                         const char *const *provided,
                                         size_t provided_count);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KITESTRING_H */
