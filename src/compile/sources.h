/* sources: the texts that compiled networks carry, embedded by the build (cmake/embed.cmake). */
#ifndef EPL_SOURCES_H
#define EPL_SOURCES_H

typedef struct epl_source {
    const char *path; /* under src/: "kernels/conv.c" */
    const char *text;
} epl_source;

extern const epl_source epl_sources[]; /* ends with a NULL path */

#endif
