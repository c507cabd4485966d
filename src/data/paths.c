/* paths: what lies in a folder, in an order that is the same everywhere. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/kinds.h"

bool epl_data_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *epl_data_join(epl_source *s, const char *folder, const char *name)
{
    const size_t n = strlen(folder) + strlen(name) + 2;
    char        *p = epl_arena_alloc(s->arena, n);
    if (p)
        strcat(strcat(strcpy(p, folder), "/"), name);
    return p;
}

bool epl_data_list(epl_source *s, const char *folder, bool (*keep)(const char *), epl_path_list *list)
{
    *list    = (epl_path_list){ 0 };
    DIR *dir = opendir(folder);
    if (!dir)
        return epl_fail(s->ctx, EPL_ERR_IO, "%s: cannot list this folder", folder);
    bool ok = true;
    for (struct dirent *e = readdir(dir); ok && e; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        const char *path = epl_data_join(s, folder, e->d_name);
        ok = path && epl_grow(s->ctx, &list->name, list->n, &list->capacity, sizeof *list->name);
        if (ok && keep(path))
            list->name[list->n++] = path;
    }
    closedir(dir);
    if (ok && list->n > 0)
        qsort(list->name, list->n, sizeof *list->name, by_name);
    return ok;
}
