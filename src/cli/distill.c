/* distill: a student learns from a teacher. */
#include "training.h"

static epl_tensor *ask_once(cli *c, const cli_training *t, const epl_model *teacher)
{
    epl_dataset *d       = cli_data_open(c, &t->data, EPL_SPLIT_TRAIN, t->val_fraction);
    epl_tensor  *answers = d ? epl_distill_answers(teacher, d, cli_progress(c, "samples")) : NULL;
    cli_progress_end(c);
    epl_dataset_free(d);
    return answers;
}

static int run(cli *c, int argc, char **argv)
{
    const char  *in = NULL, *out = NULL, *teacher_path = NULL;
    cli_training t = CLI_TRAINING;
    epl_distill_opts d = { .temperature = 4, .alpha = 0.9 };
    bool once = false;
    const cli_option training[] = { CLI_OPT_TRAINING(&t, true), EPL_OPT_END };
    const cli_option options[] = {
        EPL_ARG("student", &in, CLI_MODEL_HELP),
        EPL_OPT_MUST('t', "teacher", "MODEL", &teacher_path, "a trained network with the same inputs and classes"),
        EPL_OPT_MUST('o', "output", "FILE", &out, "the trained student to write"),
        EPL_OPT_REAL(0, "temperature", &d.temperature, 1e-3, 1e3, "what both networks' scores are divided by"),
        EPL_OPT_REAL(0, "alpha", &d.alpha, 1e-3, 1, "share of the teacher in the loss; the labels have the rest"),
        EPL_OPT_FLAG(0, "answers-once", &once, "ask the teacher once about every sample, before training; then it costs nothing"),
        EPL_OPT_GROUP("training", training),
        EPL_OPT_END
    };
    if (!cli_parse(c, options, argc, argv))
        return cli_status(c);
    epl_model *student = cli_model_load(c, in, NULL);
    epl_model *teacher = student ? cli_model_load(c, teacher_path, NULL) : NULL;
    epl_tensor *answers = teacher && once ? ask_once(c, &t, teacher) : NULL;
    d.answers = answers;
    const epl_train_hook hook = teacher && (!once || answers) ? epl_distill_hook(teacher, d) : (epl_train_hook){ 0 };
    const bool ok = hook.user && cli_train(c, student, &t, out, &hook, 1);
    epl_release(c->ctx, hook.user);
    epl_tensor_free(answers);
    epl_model_free(teacher);
    epl_model_free(student);
    return cli_end(c, ok);
}

const cli_verb cli_verb_distill = {
    .name = "distill",
    .json = true,
    .run = run,
    .summary = "a student learns from a teacher",
    .about = "Hinton et al. 2015 (arXiv:1503.02531): the teacher runs in the same step, and the loss is alpha T^2 "
             "KL(teacher || student) "
             "+ (1 - alpha) of the ordinary loss.",
    .examples = "espalier distill cnn:width=16 --teacher t.safetensors --data fashion-mnist -o s.safetensors",
};
