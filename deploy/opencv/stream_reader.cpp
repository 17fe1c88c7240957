// The one function of OpenCV's videoio that the plugin needs: with the module's own file it would contain
// a second registry of plugins.
#include <opencv2/videoio.hpp>

cv::IStreamReader::~IStreamReader() {}
