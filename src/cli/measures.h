/* measures: what eval can say of a classifier besides loss and accuracy. */
#ifndef EPL_CLI_MEASURES_H
#define EPL_CLI_MEASURES_H

#include "training.h"

enum { CLI_MEASURES = 16 };

typedef enum cli_measure_kind { CLI_ACCURACY, CLI_NLL, CLI_ECE, CLI_OOD, CLI_FGSM, CLI_PGD } cli_measure_kind;

typedef struct cli_measure {
    cli_measure_kind kind;
    const char      *text; /* as it was asked for; the command's arena */
    epl_attack_opts  attack;
    double           value;
} cli_measure;

typedef struct cli_measures {
    int             n;
    cli_measure     item[CLI_MEASURES];
    epl_calibration calibration;
} cli_measures;

#define CLI_MEASURES_HELP "of a classifier, by commas: accuracy, nll, ece, ood:DATA (area under the curve of the confidences), fgsm:EPS and pgd:EPS:STEPS " \
                          "(accuracy under attack, EPS as 0.03 or 8/255)"

/* "nll,ece,ood:noise:image=28,fgsm:8/255": a word that is none begins no measure, but goes on with the one before. */
bool cli_measures_parse(cli *c, const char *list, cli_measures *out);

/* Of the logits for d. */
bool cli_measures_take(cli *c, const epl_model *m, epl_dataset *d, const epl_tensor *logits, const cli_data *data, cli_measures *ms);

/* A page with the measures and the reliability diagram. */
bool cli_measures_report(cli *c, const cli_measures *ms, const char *model, const char *data, const char *path);

#endif
