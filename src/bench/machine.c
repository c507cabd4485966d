/* machine: what a measurement was made on. */
#include <espalier/bench.h>
#include <espalier/program.h>

#include <string.h>
#include <unistd.h>

/* The value of "model name : value" in /proc/cpuinfo; "" if there is none. */
static void read_cpu(char out[128])
{
    char  line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            snprintf(out, 128, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

/* The instruction set that programs take on this machine. */
static bool find_isa(epl_context *ctx, char out[32])
{
    epl_graph *g = epl_graph_new(ctx, "probe");
    if (g)
        epl_output(g, "y", epl_input(g, "x", EPL_F32, EPL_SHAPE(1), NULL));
    epl_weights *w = epl_weights_new(ctx);
    epl_program *p = g && w ? epl_program_new(g, w, (epl_program_opts){ .plan_only = true }) : NULL;
    if (p)
        snprintf(out, 32, "%s", epl_program_isa(p));
    const bool ok = p != NULL;
    epl_program_free(p);
    epl_weights_free(w);
    epl_graph_free(g);
    return ok;
}

bool epl_machine_of(epl_context *ctx, epl_machine *out)
{
    *out = (epl_machine){ .cores = (int)sysconf(_SC_NPROCESSORS_ONLN),
                          .memory_bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) };
    read_cpu(out->cpu);
    return find_isa(ctx, out->isa);
}
