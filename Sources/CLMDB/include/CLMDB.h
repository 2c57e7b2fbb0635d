#include "martlet-lmdb.h"
