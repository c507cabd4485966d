/* zoo: what the architectures' files share. */
#ifndef EPL_ZOO_H
#define EPL_ZOO_H

#include <espalier/zoo.h>

/* The options that image classifiers have in common, with their defaults. */
#define EPL_ZOO_IMAGES(classes_, image_, channels_)                                                        \
    { "classes", classes_, 0, 1e6, .help = "output classes; 0: the features are the output" }, { "image", image_, 1, 8192, .help = "height and width of the input" }, \
    { "channels", channels_, 1, 4096, .help = "channels of the input" }

epl_value *epl_zoo_image(epl_graph *g, const epl_zoo_args *a); /* the input "x" [N, image, image, channels] */
void       epl_zoo_classify(epl_graph *g, const epl_zoo_args *a, epl_value *features, const char *head); /* the output; "features" with classes=0 */

/* Channels to a multiple of `divisor`, never more than 10 % down: Howard et al. 2019 and Sandler et al. 2018 do so. */
int epl_zoo_round(double channels, int divisor);

#endif
