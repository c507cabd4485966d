#include "base/escape.h" // moved to the ground floor: the JSON writer there needs it
