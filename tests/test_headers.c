/* espalier.h: includes every public header, and they live together. */
#include <espalier/espalier.h>

#include "common/check.h"

#include <dirent.h>

TEST(every_public_header_is_in_espalier_h)
{
    char *all = test_read_file(t, EPL_SOURCE_DIR "/include/espalier/espalier.h", NULL);
    DIR  *folder = opendir(EPL_SOURCE_DIR "/include/espalier");
    int   n = 0;
    CHECK(t, folder != NULL);
    for (const struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        char line[300];
        if (!epl_glob("*.h", e->d_name) || strcmp(e->d_name, "espalier.h") == 0)
            continue;
        snprintf(line, sizeof line, "#include <espalier/%s>\n", e->d_name);
        if (!strstr(all, line))
            FAIL(t, "include/espalier/espalier.h does not include %s", e->d_name);
        n++;
    }
    CHECK(t, n >= 2);
    closedir(folder);
    free(all);
}
