/* page: the fixed parts of a report page. */
#ifndef EPL_REPORT_PAGE_H
#define EPL_REPORT_PAGE_H

extern const char epl_page_style[]; /* CSS */

#endif
