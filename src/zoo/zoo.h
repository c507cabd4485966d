/* zoo: what the architectures' files share. */
#ifndef EPL_ZOO_H
#define EPL_ZOO_H

#include <espalier/zoo.h>

/* The options that image classifiers have in common, with their defaults. */
#define EPL_ZOO_IMAGES(classes_, image_, channels_)                                                        \
    { "classes", classes_, 0, 1e6, .help = "output classes; 0: the features are the output" },             \
    { "image", image_, 1, 8192, .help = "height and width of the input" },                                 \
    { "channels", channels_, 1, 4096, .help = "channels of the input" }

/* The same, for architectures whose variants differ in the size of the image. */
#define EPL_ZOO_SIZED_IMAGES(classes_, channels_)                                                          \
    { "classes", classes_, 0, 1e6, .help = "output classes; 0: the features are the output" },             \
    { "image", 0, 0, 8192, .help = "height and width of the input; 0: the variant's" },                    \
    { "channels", channels_, 1, 4096, .help = "channels of the input" }

epl_value *epl_zoo_image(epl_graph *g, const epl_zoo_args *a); /* the input "x" [N, image, image, channels] */

/* The output: "logits" by epl_classifier, its layer named `head`; with classes=0 "features", what the layer would have read. */
void epl_zoo_classify(epl_graph *g, const epl_zoo_args *a, epl_value *features, const char *head);
void epl_zoo_classify_with(epl_graph *g, const epl_zoo_args *a, epl_value *features, epl_classifier_opts o); /* classes is set here */

/* The linear layers that these make, if the head's name is "head": their names (epl_glob), and how many there are. */
#define EPL_ZOO_HEAD_LAYERS "head.*,embed.*"
int epl_zoo_head_layers(const epl_zoo_args *a);

/* What cannot be, said in one sentence that names the option: "<model>: option '<option>' is 7, but <why>". Return false. */
bool epl_zoo_refuse(epl_graph *g, const epl_zoo_args *a, const char *option, const char *why);

/* Whether an option's value is at least this, and whether `divisor` divides `of`, two values that these options gave; if not, the
 * graph fails: "<model>: option 'image' is 16, but at least 32 is needed: <why>", "... 'heads' is 5 and does not divide ...". */
bool epl_zoo_at_least(epl_graph *g, const epl_zoo_args *a, const char *option, int least, const char *why);
bool epl_zoo_divides(epl_graph *g, const epl_zoo_args *a, const char *option, int divisor, const char *of_name, int of);
bool epl_zoo_multiple(epl_graph *g, const epl_zoo_args *a, const char *option, int factor, const char *why);

/* The option 'ibn', and what it does to a network that stands: epl_ibn. */
#define EPL_ZOO_IBN(choices_) { "ibn", 0, .choices = choices_, .help = "instance beside batch normalisation, as in IBN-Net" }
void epl_zoo_ibn(epl_graph *g, const epl_zoo_args *a);

/* Channels to a multiple of `divisor`, never more than 10 % down: Howard et al. 2019 and Sandler et al. 2018 do so. */
int epl_zoo_round(double channels, int divisor);

#endif
